"""Photos as other programs read them: upright, and in a format that they know."""

import shutil
from collections.abc import Collection
from pathlib import Path

from PIL import ExifTags, Image

from ..io.images import read_image


def copy_upright(
    photo: Path,
    target: Path,
    bit_depth: int | None,
    suffixes: Collection[str],
    otherwise: str = ".png",
) -> Path:
    """Copy a photo, or write it anew if it is turned by EXIF or of another format.

    Args:
        photo: to be read.
        target: to be written, without its suffix.
        bit_depth: see `Settings`.
        suffixes: of the formats that are copied as they are, in lower case.
        otherwise: suffix of what is written anew.

    Returns:
        The path of the copy; ".jpeg" becomes ".jpg".

    Raises:
        ImageError: if the photo cannot be read.
    """
    upright = read_image(photo, bit_depth)
    with Image.open(photo) as file:
        turned = file.getexif().get(ExifTags.Base.Orientation, 1) != 1
    suffix = photo.suffix.lower().replace(".jpeg", ".jpg")
    if turned or suffix not in suffixes:
        copy = target.with_name(target.name + otherwise)
        upright.save(copy, quality=95, subsampling=0)
    else:
        copy = target.with_name(target.name + suffix)
        shutil.copyfile(photo, copy)
    return copy
