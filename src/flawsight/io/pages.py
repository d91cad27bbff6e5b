"""Which page of a file with several is the photo, and how it lies."""

import re
from contextlib import suppress
from typing import Any

from PIL import Image

from ..errors import ImageError

ORIENTATION = 0x0112
_SUBFILE, _OLD_SUBFILE, _XMP = 254, 255, 700  # TIFF tags
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2
_IFDS = (0x8769, 0x8825, 0xA005)  # of EXIF, GPS and interoperability
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]}


def choose_page(image: Any, name: str) -> tuple[str, ...]:
    """Go to the first page of an opened file that is not a reduced one; warn of further ones.

    If a TIFF marks all of its pages as reduced, the largest is taken.

    A TIFF that has been decoded already, and any file at a later page, stays as it is.

    Raises:
        ImageError: if only reduced pages can be read, and others not.
    """
    undecoded = bool(getattr(image, "tile", None))
    if image.format == "TIFF":
        return _choose_tiff_page(image, name) if undecoded else ()
    count = 1
    with suppress(Exception):  # damaged behind the first frame, or no file at all
        count = getattr(image, "n_frames", 1) if image.tell() == 0 else 1
    if image.format == "MPO" and count > 1:  # a JPEG, with smaller previews behind it
        if not undecoded:
            return ()
        count = 1 + _further_of_size(image, count)
    if count < 2:
        return ()
    return (f"It has {count} frames; only the first was inspected. Give each as a file.",)


def _choose_tiff_page(image: Any, name: str) -> tuple[str, ...]:
    at = image.tell()
    full: list[int] = []
    areas: list[int] = []
    damaged = False
    try:
        while True:
            image.seek(len(areas))
            kind = image.tag_v2.get(_SUBFILE, 0)
            reduced = isinstance(kind, int) and kind & (_REDUCED | _MASK)
            if not reduced and image.tag_v2.get(_OLD_SUBFILE) != _OLD_REDUCED:
                full.append(len(areas))
            areas.append(image.width * image.height)
    except EOFError:
        pass
    except Exception:  # a damaged directory makes Pillow raise nearly anything
        damaged = True
    if not full and damaged:
        raise ImageError(
            f"{name} has no page that can be read but thumbnails and masks (TIFF tag 254); save "
            "the photo itself as a file."
        )
    chosen = full[0] if full else areas.index(max(areas))
    by_caller = at not in (0, chosen)
    image.seek(at if by_caller else chosen)
    if by_caller:
        return ()
    if not full:
        return ("All its pages are marked as thumbnails or masks; the largest was inspected.",)
    if len(full) == 1 and not damaged:
        return ()
    further = "more pages, which cannot be read" if damaged else f"{len(full)} pages"
    return (f"It has {further}; only page {chosen + 1} was inspected. Give each as a file.",)


def _further_of_size(image: Any, count: int) -> int:
    size, found = image.size, 0
    with suppress(Exception):
        for frame in range(1, count):
            image.seek(frame)
            found += image.size == size
    image.seek(0)
    return found


def settle_tiff_exif(image: Any) -> bool:
    """Make an undecoded TIFF ready to be decoded; return whether its EXIF data are damaged."""
    if image.format != "TIFF" or not getattr(image, "tile", None):
        return False
    if image.tag_v2.get(ORIENTATION) in (5, 6, 7, 8):
        image.filename = ""  # else Pillow maps the pixels of the file in rows of the upright width
    if ORIENTATION not in image.tag_v2 and isinstance(image.tag_v2.get(_XMP), bytes):
        image.info.setdefault("xmp", image.tag_v2[_XMP])  # as Pillow 11 does
    damaged = False
    try:
        image.getexif()
    except Exception:  # damaged metadata make Pillow raise nearly anything
        damaged = True
    exif = image.getexif()  # what could be read; Pillow reads it once
    for ifd in _IFDS:
        if ifd in exif:
            try:
                exif.get_ifd(ifd)
            except Exception:
                damaged = True
                # Decoding would read it again.
                del exif[ifd]
    return damaged


def turn_of(image: Image.Image) -> tuple[Image.Transpose | None, bool]:
    """Return what turns a decoded image upright, and whether its EXIF data are damaged."""
    orientation, damaged = orientation_of(image)
    return _TURNS.get(orientation), damaged


def orientation_of(image: Image.Image) -> tuple[int, bool]:
    """Return the orientation of EXIF or XMP, 1 to 8, and whether the EXIF data are damaged."""
    damaged, orientation = False, None
    try:
        if isinstance(content := image.info.get("exif"), bytes):
            Image.Exif().load(content)
    except Exception:  # damaged metadata make Pillow raise nearly anything
        damaged = True
    try:
        orientation = image.getexif().get(ORIENTATION)
        xmp = image.info.get("xmp")  # into which Pillow 10 does not look
        if orientation is None and isinstance(xmp, bytes):
            found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', xmp)
            orientation = int(found[1]) if found else None
    except Exception:
        damaged = True
    return (orientation if isinstance(orientation, int) and orientation in _TURNS else 1), damaged
