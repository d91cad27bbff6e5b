"""Image files → upright RGB images, from any format and pixel type."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import FlawsightError, ImageError
from .heif import readable_heif_suffixes

SUFFIXES = {
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff",
    ".webp",
} | readable_heif_suffixes()  # fmt: skip
MAX_PIXELS = 200_000_000
MAX_ASPECT = 100
# The formats of the suffixes. Others are unsafe for untrusted files: EPS starts Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def read_image(path: str | Path) -> Image.Image:
    """Read an image file as upright RGB.

    Raises:
        ImageError: if it is missing, not an image, truncated, too large or too elongated.
    """
    with _as_image_error(str(path)), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            return prepare_image(image, str(path))


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
        _check_size(image.size, name, max_pixels)
        return image


def prepare_image(image: Any, name: str = "the image") -> Image.Image:
    """Return an image in memory as upright RGB.

    16-bit and float images are scaled to 8 bits from a fixed range (that of the type, or [0, 1] for
    floats), never by their own content. Transparent pixels are blended with white.

    Args:
        image: PIL image, or array (height, width) or (height, width, 3 or 4).
        name: for error messages.

    Raises:
        ImageError: if it is not an image, truncated, too large or too elongated.
    """
    with _as_image_error(name):
        return _prepare(image, name)


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
        raise ImageError(f"{name} is too large: {error}") from error
    except Exception as error:
        # A damaged file makes Pillow raise nearly anything, struct.error and TypeError included.
        raise ImageError(f"Cannot read {name}; is the file damaged? ({error})") from error


def _prepare(image: Any, name: str) -> Image.Image:
    if isinstance(image, np.ndarray):
        image = _from_array(image, name)
    if not isinstance(image, Image.Image):
        raise ImageError(f"{name} is a {type(image).__name__}; give a path, PIL image or array.")
    _check_size(image.size, name)
    upright: Image.Image = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        upright = _from_array(_as_unit_float(upright), name)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    return upright.convert("RGB")


def _check_size(size: tuple[int, int], name: str, max_pixels: int | None = None) -> None:
    width, height = size
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    if min(size) < 1:
        raise ImageError(f"{name} is empty: {width}×{height}.")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width}×{height} pixels, more than the {max_pixels:,} allowed; split it."
        )
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"{name} is {width}×{height}: too elongated (more than {MAX_ASPECT}:1); split it."
        )


def _as_unit_float(image: Image.Image) -> np.ndarray[Any, Any]:
    """Scale a wide mode: 16-bit by 65535, 32-bit integers by 255 if they all fit, else 65535.

    Floats are in [0, 1], which resampling may overshoot a little, or else in [0, 255].
    """
    values = np.asarray(image).astype(np.float32)
    if image.mode == "F":
        return values if values.max(initial=0) <= 2 else values / 255
    full = 255 if image.mode == "I" and values.max(initial=0) <= 255 else 65535
    return values / full


def _from_array(array: np.ndarray[Any, Any], name: str) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(f"{name} has shape {array.shape}; give (height, width[, 3 or 4]).")
    if array.size == 0:
        raise ImageError(f"{name} is empty: shape {array.shape}.")
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = array / np.float32(65535)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ImageError(f"{name} holds NaN or infinity.")
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        raise ImageError(f"{name} has dtype {array.dtype}; give uint8, uint16 or float in [0, 1].")
    return Image.fromarray(array)
