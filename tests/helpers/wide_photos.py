"""Photos of more than 8 bits that Pillow cannot write."""

import struct
import zlib

import numpy as np


def png_16(values: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG of 16 bits of (height, width, 3 or 4) values, with a colour that is transparent."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    key = chunk(b"tRNS", struct.pack(">3H", *transparent)) if transparent else b""
    body = chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
