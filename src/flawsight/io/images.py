"""Image files → upright RGB images, from any format and pixel type."""

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import FlawsightError, ImageError
from .colour_profile import to_srgb
from .heif import readable_heif_suffixes
from .pages import SIDEWAYS, choose_page, settle_tiff_exif, turn_of
from .pixel_scale import is_wide_grey, to_8_bits, wide_colour, wide_colour_bits, wide_grey

SUFFIXES = {
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff",
    ".webp",
} | readable_heif_suffixes()  # fmt: skip
MAX_PIXELS = 200_000_000
MAX_ASPECT = 100
# Of 255: a photo that varies by less than 2 % of the scale shows nothing.
FLAT = 4
SMALL = 32  # pixels of the short side, near the number of image tokens along it
_SAMPLES = 64  # pixels of each side that are looked at first
# The formats of the suffixes. Others are unsafe for untrusted files: EPS starts Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True)
class Photo:
    """An upright RGB photo, and sentences on what of the file it does not show as it should.

    `of_content` has those of the warnings that are of what it shows.
    """

    image: Image.Image
    warnings: tuple[str, ...] = ()
    of_content: tuple[str, ...] = ()


def read_image(path: str | Path, bit_depth: int | None = None) -> Image.Image:
    """Read an image file as upright RGB; see `prepare_image`.

    Raises:
        ImageError: if it is missing, not an image, truncated, too large or too elongated, or has
            values outside of its scale.
    """
    return _read(path, bit_depth).image


def read_photo(path: str | Path, bit_depth: int | None = None) -> Photo:
    """Read an image file that a model is to judge.

    Raises:
        ImageError: as `read_image`, or if it shows one flat colour.
    """
    return _judgeable(_read(path, bit_depth), str(path))


def upright_size(path: str | Path) -> tuple[int, int]:
    """Return the (height, width) of the image that `read_image` gives.

    Raises:
        ImageError: if it is missing, not an image or damaged.
    """
    with _as_image_error(str(path)), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            choose_page(image, str(path))
            if image.format == "TIFF":  # decoding turns it
                settle_tiff_exif(image)
                image.load()
            on_its_side = turn_of(image)[0] in SIDEWAYS
            return (image.width, image.height) if on_its_side else (image.height, image.width)


def open_image(content: bytes, max_pixels: int | None = None) -> Image.Image:
    """Open an untrusted image file without decoding it; `prepare_image` decodes it.

    Args:
        content: of the file.
        max_pixels: limit of width × height; None for `MAX_PIXELS`.

    Raises:
        ImageError: if it is not an image in one of `FORMATS`, too large or too elongated.
    """
    name = "the image"
    with _as_image_error(name), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        choose_page(image, name)
        _check_size(image.size, name, max_pixels)
        return image


def prepare_image(image: Any, name: str = "the image", bit_depth: int | None = None) -> Image.Image:
    """Return an image in memory as upright RGB.

    Photos of more than 8 bits and floats are scaled to 8 bits from a fixed range, that of the type
    or [0, 1] for floats, never by their own content. Transparent pixels are blended with white,
    unless all are transparent. Colours are converted to sRGB if an ICC profile says otherwise.

    Args:
        image: PIL image, or array (height, width) or (height, width, 3 or 4).
        name: for error messages.
        bit_depth: bits of full scale of integers wider than 8 bits and of floats that are counts;
            None takes the range above.

    Raises:
        ImageError: if it is not an image, truncated, too large or too elongated, or has values
            outside of its scale.
    """
    with _as_image_error(name):
        return _prepare(image, name, bit_depth).image


def prepare_photo(
    image: Any,
    name: str = "the image",
    bit_depth: int | None = None,
    most_pixels: int | None = None,
) -> Photo:
    """Return an image in memory that a model is to judge; see `prepare_image`.

    Args:
        image: see `prepare_image`, as all but the last.
        name: …
        bit_depth: …
        most_pixels: about how many a larger PIL image is reduced to before colours are converted,
            which takes less memory. None keeps all.

    Raises:
        ImageError: as `prepare_image`, or if it shows one flat colour.
    """
    with _as_image_error(name):
        return _judgeable(_prepare(image, name, bit_depth, most_pixels), name)


def _read(path: str | Path, bit_depth: int | None) -> Photo:
    with _as_image_error(str(path)), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            return _prepare(image, str(path), bit_depth)


@contextmanager
def _as_image_error(name: str) -> Iterator[None]:
    """Turn any exception into an ImageError."""
    try:
        yield
    except FlawsightError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {name}.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that Pillow can read.") from error
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        size = f"{int(pixels[0]):,}" if pixels else "too many"
        raise _too_large(name, f"{size} pixels", MAX_PIXELS) from error
    except Exception as error:
        # A damaged file makes Pillow raise nearly anything, struct.error and TypeError included.
        raise ImageError(f"Cannot read {name}; is the file damaged? ({error})") from error


def _prepare(image: Any, name: str, bit_depth: int | None, most_pixels: int | None = None) -> Photo:
    if isinstance(image, np.ndarray):
        made, said = _from_array(image, name, bit_depth)
        _check_size(made.size, name)
        rgb, more = _flatten(made, None)
        return Photo(rgb, (*said, *more))
    if not isinstance(image, Image.Image):
        raise ImageError(f"{name} is a {type(image).__name__}; give a path, PIL image or array.")
    said = choose_page(image, name)
    _check_size(image.size, name)
    damaged = settle_tiff_exif(image)
    decoded, more = image, ()
    if wide_colour_bits(image):
        decoded, more = wide_colour(image, bit_depth, name)
    elif is_wide_grey(image):
        decoded, more = wide_grey(image, bit_depth, name)
    image.load()
    turn, also_damaged = turn_of(image)
    if most_pixels is not None:
        decoded = _reduced(decoded, most_pixels)
    rgb, last = _flatten(decoded, image.info.get("icc_profile"))
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info = {}  # it is upright and in sRGB now
    if damaged or also_damaged:
        last = (*last, "Its EXIF data are damaged, so it may lie on its side.")
    return Photo(rgb, (*said, *more, *last))


def _reduced(image: Image.Image, most_pixels: int) -> Image.Image:
    """Return an image of 8 bits with about `most_pixels` at most."""
    scale = math.sqrt(most_pixels / (image.width * image.height))
    if scale >= 1:
        return image
    if image.mode == "P" or image.has_transparency_data:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)


def _flatten(image: Image.Image, profile: Any) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an image of 8 bits as RGB in sRGB, blended with white where it is transparent."""
    alpha = None
    if image.has_transparency_data:
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        rgba = image.convert("RGBA")
        alpha, image = rgba.getchannel("A"), rgba.convert(mode)
    converted, said = to_srgb(image, profile)
    rgb = image.convert("RGB") if converted is None else converted
    if alpha is not None:
        least, most = alpha.getextrema()
        if most == 0:
            return rgb, (*said, "All of it is transparent; the transparency was ignored.")
        if least != 255:
            rgb.putalpha(alpha)
            rgb = Image.alpha_composite(Image.new("RGBA", rgb.size, "white"), rgb).convert("RGB")
    return rgb, said


def _judgeable(photo: Photo, name: str) -> Photo:
    """Refuse a photo that shows nothing, and warn of one that shows little."""
    image, said = photo.image, photo.warnings
    found = []
    # Nearest-neighbour sampling costs nothing; only what looks flat by it is looked at as a whole.
    sides = (min(image.width, _SAMPLES), min(image.height, _SAMPLES))
    sample = image.resize(sides, Image.Resampling.NEAREST)
    if _spread(sample, 0.01) <= FLAT:
        # A photo on a wrong scale is told by its warning, unless nothing at all is left of it.
        if _spread(image, 0) <= (0 if said else FLAT):
            raise ImageError(
                f"{name} shows one flat colour: no channel varies by more than {FLAT} of 255 "
                f"levels. There is nothing to inspect. {' '.join(said)}".rstrip()
            )
        if _spread(image, 0.01) <= FLAT:
            found.append("98 % of its pixels have one colour; is the part in the picture?")
    if min(image.size) < SMALL:
        found.append(
            f"It has only {image.width}×{image.height} pixels, too few to show a defect; {SMALL} "
            "a side are the least."
        )
    return Photo(image, (*said, *found), tuple(found))


def _spread(image: Image.Image, cut: float) -> int:
    """Return the largest range of a channel of an RGB image, without a share at either end."""
    channels = np.array(image.histogram()).reshape(3, 256).cumsum(axis=1)
    count = image.width * image.height
    low = (channels > cut * count).argmax(axis=1)
    high = (channels >= (1 - cut) * count).argmax(axis=1)
    return int((high - low).max())


def _check_size(size: tuple[int, int], name: str, max_pixels: int | None = None) -> None:
    width, height = size
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    if min(size) < 1:
        raise ImageError(f"{name} is empty: {width}×{height}.")
    if width * height > max_pixels:
        raise _too_large(name, f"{width}×{height} pixels", max_pixels)
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"{name} is {width}×{height} pixels: too elongated (more than {MAX_ASPECT}:1); cut it "
            "into parts."
        )


def _too_large(name: str, size: str, limit: int) -> ImageError:
    return ImageError(
        f"{name} has {size}, more than the {limit:,} allowed; cut it up or make it smaller."
    )


def _from_array(
    array: np.ndarray[Any, Any], name: str, bit_depth: int | None
) -> tuple[Image.Image, tuple[str, ...]]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(f"{name} has shape {array.shape}; give (height, width[, 3 or 4]).")
    if array.size == 0:
        raise ImageError(f"{name} is empty: shape {array.shape}.")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        return Image.fromarray(array), ()
    if array.dtype.kind not in "iuf":
        raise ImageError(f"{name} has dtype {array.dtype}; give uint8, uint16 or float in [0, 1].")
    own_bits = 16 if array.dtype.kind == "u" and array.dtype.itemsize == 2 else None
    if array.ndim == 2 or array.shape[2] == 3:
        scaled, said = to_8_bits(array, own_bits, bit_depth, name)
        return Image.fromarray(scaled), said
    scaled, said = to_8_bits(array[:, :, :3], own_bits, bit_depth, name)
    of_alpha = None if own_bits or array.dtype.kind == "f" else bit_depth
    alpha, _ = to_8_bits(array[:, :, 3], own_bits, of_alpha, f"The alpha channel of {name}")
    return Image.fromarray(np.dstack([scaled, alpha])), said
