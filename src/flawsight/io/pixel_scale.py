"""Pixel values of any type → 8 bits on one fixed scale: that of the type, never of the content."""

import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError

Values = NDArray[Any]
# Cameras have 8 to 14 bits. A photo of 14 bits in 16 ends just below a quarter of full scale, one
# of 12 bits below a sixteenth. A well exposed photo of all 16 bits goes above.
DIM, DIM_AT_GIVEN_DEPTH = 1 / 4, 1 / 50
_CAMERA_BITS = (8, 10, 12, 14, 16)
_SIGNED_16 = 15
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_UNSIGNED, _SIGNED, _WHITE_IS_ZERO = 1, 2, 0


def to_8_bits(
    values: Values, own_bits: int | None, bit_depth: int | None, name: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Scale numbers to 8 bits.

    Args:
        values: integers or floats of any shape.
        own_bits: of the full scale of their type; None if it has none, as floats and 32 bits.
        bit_depth: of the full scale instead; None takes `own_bits`, or [0, 1] for floats.
        name: of the photo, for messages.

    Returns:
        The values in 8 bits, and a warning if they use little of the scale.

    Raises:
        ImageError: if the scale is not known, or a value is outside of it, NaN or infinite.
    """
    is_float = values.dtype.kind == "f"
    if is_float and not np.isfinite(values).all():
        raise ImageError(f"{name} holds NaN or infinity.")
    bits = own_bits if bit_depth is None else bit_depth
    if bits is None and not is_float:
        raise ImageError(
            f"{name} has dtype {values.dtype}; give uint8, uint16 or float in [0, 1], or the bits "
            "of its full scale: bit_depth (--bit-depth 12)."
        )
    full = 1 if bits is None else 2**bits - 1
    lowest, highest = values.min().item(), values.max().item()
    # Less than half a step of 8 bits is rounded away.
    slack = full / 510 if is_float else 0
    if lowest < -slack or highest > full + slack:
        remedy = "give the bits that the photo has: bit_depth (--bit-depth 16)"
        if lowest < -slack:
            remedy = "save it with values from 0 on"
        elif bits is None:
            remedy = (
                "scale them to [0, 1], or if they are counts, say of how many bits: bit_depth "
                "(--bit-depth 12)"
            )
        raise ImageError(
            f"{name} has values from {lowest:g} to {highest:g}, outside of its scale of 0 to "
            f"{full}; {remedy}."
        )
    warnings = dim_warning(highest, bits, bit_depth)
    if values.dtype == np.uint16:  # a table is faster
        return np.take(_rounded(np.arange(65536, dtype=np.uint16), full), values), warnings
    return _rounded(values, full), warnings


def _rounded(values: Values, full: int) -> NDArray[np.uint8]:
    if values.dtype.kind != "f" or full > 1:
        wide = np.dtype(np.float64 if values.dtype.itemsize > 4 else np.float32)
        values = values.astype(wide) / wide.type(full)
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def dim_warning(highest: float, bits: int | None, bit_depth: int | None) -> tuple[str, ...]:
    """Return a warning if the largest value is far below full scale, as with 12 bits in 16.

    Args:
        highest: the largest value.
        bits: of full scale; None for [0, 1].
        bit_depth: given by the user, if it was.
    """
    full = 1 if bits is None else 2**bits - 1
    if highest >= full * (DIM if bit_depth is None else DIM_AT_GIVEN_DEPTH):
        return ()
    scale = "[0, 1]" if bits is None else f"its {bits} bits"
    said = f"Its largest value is {highest:g}, only {max(0, highest) / full:.2g} of {scale}."
    fitting = [b for b in _CAMERA_BITS if highest < 2**b and b < (bits or 0)]
    if bit_depth is None and fitting:
        said += f" If the camera has {fitting[0]} bits, give bit_depth (--bit-depth {fitting[0]})."
    return (said,)


def is_wide_grey(image: Image.Image) -> bool:
    """Whether an image has one channel of more than 8 bits, or of floats."""
    return image.mode == "F" or image.mode.startswith("I")


def wide_grey(image: Any, bit_depth: int | None, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """Return a wide grey image as "L", or "LA" if a grey value of it is transparent; see above."""
    decoder = image.tile[0][0] if getattr(image, "tile", None) else ""
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    own_bits: int | None = 16
    if image.mode == "F":
        own_bits = None
    elif tags:
        own_bits, form = int(tags.get(_BITS, (16,))[0]), tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0]
        if own_bits > 16:
            own_bits, values = None, values.view(np.uint32) if form == _UNSIGNED else values
        elif form == _SIGNED:
            own_bits = _SIGNED_16
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):
        own_bits = None
    if decoder.startswith("ppm"):  # Pillow has scaled it from the maximum that the file states
        bit_depth = 16
    grey, warnings = to_8_bits(values, own_bits, bit_depth, name)
    if tags and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    key = image.info.get("transparency")
    if isinstance(key, int):
        alpha = np.where(values == key, 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([grey, alpha])), warnings
    return Image.fromarray(grey), warnings


def wide_colour_bits(image: Any) -> int | None:
    """Return the bits per channel of a colour image, of which Pillow will keep the upper 8.

    None for one of 8 bits, or of which the file states the maximum. Call it before the image is
    decoded.
    """
    if image.mode not in ("RGB", "RGBA", "LA", "CMYK") or not getattr(image, "tile", None):
        return None
    decoder, args = image.tile[0][0], image.tile[0][3]
    if decoder.startswith("ppm"):
        return 16 if args[-1] == 65535 else None
    return 16 if ";16" in _rawmode(args) else None


def wide_colour(
    image: Image.Image, bit_depth: int | None, name: str
) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an undecoded colour image of 16 bits in 8; the alpha channel has a scale of its own.

    Raises:
        ImageError: as `to_8_bits`, or if Pillow cannot read all 16 bits, and less are wanted.
    """
    key = image.info.get("transparency")
    if bit_depth in (None, 16) and key is None:
        image.load()
        highest = max(high for _, high in _extrema(image)) * 256 + 255
        return image, dim_warning(highest, 16, bit_depth)
    low = _lower_bytes(image, name)
    image.load()
    high_bytes, low_bytes = np.asarray(image), np.asarray(low)
    colours = high_bytes.astype(np.uint16) * 256 + low_bytes
    scaled, warnings = to_8_bits(colours[:, :, :3], 16, bit_depth, name)
    if image.mode == "RGBA":
        scaled = np.dstack([scaled, high_bytes[:, :, 3]])
    elif key is not None:
        opaque = (colours != np.array(key, dtype=np.uint16)).any(axis=2)
        scaled = np.dstack([scaled, opaque * np.uint8(255)])
    return Image.fromarray(scaled), warnings


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    bands: Any = image.getextrema()
    return list(bands[:1] if image.mode == "LA" else bands[:3])


def _lower_bytes(image: Any, name: str) -> Image.Image:
    """Decode the same file with the bytes of each number swapped: Pillow keeps the first."""
    swap = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
    rawmode = _rawmode(image.tile[0][3])
    if not re.fullmatch("RGB[AX]?;16[BLN]", rawmode):
        raise ImageError(
            f"{name} has 16 bits per channel, of which only 8 can be read; bit_depth needs all. "
            "Save it as a PNG or TIFF of RGB, or scale it to 8 bits."
        )
    swapped = rawmode[:-1] + swap[rawmode[-1]]
    position = image.fp.tell()
    image.fp.seek(0)
    low: Any = Image.open(image.fp, formats=[image.format])
    low.seek(image.tell())
    low.tile = [
        getattr(type(tile), "_make", tuple)(
            (*tile[:3], swapped if isinstance(tile[3], str) else (swapped, *tile[3][1:]))
        )
        for tile in low.tile
    ]
    low.load()
    image.fp.seek(position)
    return low  # type: ignore[no-any-return]


def _rawmode(args: Any) -> str:
    return str(args if isinstance(args, str) else args[0])
