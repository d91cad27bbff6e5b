"""Which bytes of a file a result belongs to."""

import os
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ..errors import ImageError
from .images import Photo, prepare_photo, read_photo

_RECENT = 10.0  # seconds since the last write in which a damaged file may still be being written
_WAIT, _WAITS = 0.5, 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileStamp:
    """The size, times and checksum of a file: the field "file" of a row.

    Attributes:
        bytes: size of the file.
        crc32: of its content, as 8 hexadecimal digits.
        modified_ns: time of the last write, in ns since 1970; None of bytes without a file.
        changed_ns: time of the last change of the file or its attributes, the same.
    """

    bytes: int
    crc32: str
    modified_ns: int | None = None
    changed_ns: int | None = None

    @classmethod
    def of_file(cls, path: str | Path) -> Self:
        """Return the stamp of a file.

        Raises:
            OSError: if it cannot be read.
        """
        state, checksum = os.stat(path), 0
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                checksum = zlib.crc32(chunk, checksum)
        return cls(state.st_size, f"{checksum:08x}", state.st_mtime_ns, state.st_ctime_ns)

    def current(self, path: str | Path) -> Self | None:
        """Return the stamp of a file today if it has the same bytes, else None.

        Equal size and times count as equal bytes; with other times, the content is read.

        Raises:
            OSError: if the file cannot be read.
        """
        state = os.stat(path)
        if state.st_size != self.bytes:
            return None
        if state.st_mtime_ns == self.modified_ns and self.changed_ns in (None, state.st_ctime_ns):
            return self
        now = self.of_file(path)
        return now if (now.bytes, now.crc32) == (self.bytes, self.crc32) else None

    def to_json(self) -> dict[str, Any]:
        """Return the stamp as JSON types."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def stamp_of_bytes(content: bytes, modified_ns: int | None = None) -> FileStamp:
    """Return the stamp of a file with a content, as far as it is known."""
    return FileStamp(len(content), f"{zlib.crc32(content):08x}", modified_ns)


def was_replaced(row: dict[str, Any], path: str | Path) -> bool:
    """Whether a file has other bytes than the one that a row is of; False if that is unknown.

    A row without "file", of version 0.1 or another program, does not say.
    """
    try:
        return "file" in row and FileStamp(**row["file"]).current(path) is None
    except (OSError, ValueError):
        return False  # no such file


def read_stamped(path: str | Path, bit_depth: int | None = None) -> tuple[Photo, FileStamp]:
    """Read an image file that a model is to judge, with its stamp.

    A file that changes meanwhile, or that is damaged and was written in the last seconds, may still
    be being written: it is read once more when its size has settled.

    Raises:
        ImageError: as `read_photo`.
    """
    try:
        image, stamp = _read(path, bit_depth)
        if _writing(path) == (stamp.bytes, stamp.modified_ns):
            return image, stamp
    except ImageError:
        state = _writing(path)
        if state is None or abs(time.time() - state[1] / 1e9) > _RECENT:
            raise
    for _ in range(_WAITS):
        before = _writing(path)
        time.sleep(_WAIT)
        if _writing(path) == before:
            break
    return _read(path, bit_depth)


def open_photo(image: Any, bit_depth: int | None = None) -> tuple[Photo, FileStamp | None]:
    """Return a photo that a model is to judge, with the stamp of its file if it has one.

    Args:
        image: path, PIL image, array, or `Photo`, which is returned as it is.
        bit_depth: see `prepare_image`.

    Raises:
        ImageError: as `read_photo`.
    """
    if isinstance(image, Photo):
        return image, None
    if isinstance(image, str | Path):
        return read_stamped(image, bit_depth)
    return prepare_photo(image, bit_depth=bit_depth), None


def _read(path: str | Path, bit_depth: int | None) -> tuple[Photo, FileStamp]:
    # Stamped first: if the file changes in between, the stamp is not that of the file of later.
    try:
        stamp = FileStamp.of_file(path)
    except (OSError, ValueError) as error:
        read_photo(path, bit_depth)  # says what is wrong
        raise ImageError(f"{path} changed while it was read.") from error
    return read_photo(path, bit_depth), stamp


def _writing(path: str | Path) -> tuple[int, int] | None:
    """Return what changes while a file is written: its size and the time of the last write."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns
