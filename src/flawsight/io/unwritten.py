"""Whether the end of an image file is still to be written."""

import os

from .images import SUFFIXES

# Their last pixels may be zeros, or their directory may come first.
_RAW = {".bmp", ".pgm", ".ppm", ".tif", ".tiff"}
_END = 64  # bytes


def has_unwritten_end(path: str) -> bool:
    """Whether a file is empty, or a compressed image that ends in zeros.

    So does a file whose space was reserved before its content came, as some copies do. JPEG decodes
    it without an error. A file that cannot be read counts, too.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _END))
            end = file.read()
    except OSError:
        return True
    compressed = os.path.splitext(path)[1].lower() in SUFFIXES - _RAW
    return not end or (compressed and not any(end))
