"""A mask file of any format and pixel type → which of its pixels are defective."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from scipy.ndimage import minimum_filter

from ..errors import DatasetError

Mask = NDArray[np.bool_]
_LOSSY = {"AVIF", "HEIF", "JPEG", "JPEG2000", "MPO"}
# Lossy compression makes up to about this much from black.
_NOISE = 16


def read_marked(path: Path) -> tuple[Mask, int]:
    """Return the defective pixels (height, width) of a mask as stored, and its EXIF orientation.

    A pixel is defective if it is not black: any value but 0, or any colour but black, whatever its
    index in a palette. Alpha does not count. Of lossy files and of fractions, a pixel is defective
    from half of the largest value.

    Raises:
        DatasetError: if it cannot be read, or does not say which pixels are defective.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Not from the path: Pillow 13 maps turned TIFF files into memory with swapped sides.
            content = path.read_bytes()
            with Image.open(io.BytesIO(content)) as file:
                if getattr(file, "n_frames", 1) > 1 and file.format != "MPO":
                    raise DatasetError(f"The mask {path} has several pages; save it as one.")
                deep = any(";16" in str(tile) for tile in file.tile)
                file.load()
                orientation = file.getexif().get(ExifTags.Base.Orientation, 1)
                values = _values(file, path, deep)
                lossy = _is_lossy(file, content)
    except DatasetError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise DatasetError(f"Cannot read the mask {path}: {error}") from error
    return _defective(values, path, lossy), orientation if orientation in range(1, 9) else 1


def _values(image: Image.Image, path: Path, deep: bool) -> NDArray[Any]:
    """Return the values (height, width), 0 for black."""
    grey = image.mode in ("1", "L", "F") or image.mode.startswith("I")
    if grey and not (image.mode in ("1", "L") and "transparency" in image.info):
        return np.asarray(image)
    rgba = np.asarray(image.convert("RGBA"))
    values: NDArray[Any] = rgba[:, :, :3].max(axis=2)
    alpha = rgba[:, :, 3]
    if deep and not {255} <= set(np.unique(values).tolist()) <= {0, 255}:
        raise DatasetError(
            f"The mask {path} has colours of 16 bits, of which 8 are lost; save it as grey."
        )
    if np.ptp(alpha) and len(np.unique(values > 0)) == 1:
        raise DatasetError(
            f"The mask {path} differs in its transparency alone, which does not count. Save it as "
            "grey, black where the part is normal."
        )
    if image.mode == "P" and not np.ptp(rgba, axis=(0, 1)).any():
        return np.asarray(image)  # a palette of one colour says nothing; the indices do
    return values


def _is_lossy(image: Image.Image, content: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in content
    return image.format in _LOSSY or image.info.get("compression") in ("jpeg", "webp")


def _defective(values: NDArray[Any], path: Path, lossy: bool) -> Mask:
    if not np.isfinite(values).all():
        raise DatasetError(f"The mask {path} holds NaN or infinity.")
    largest = values.max(initial=0)
    if not lossy:
        fractions = values.dtype.kind == "f" and (values % 1).any()
        return np.asarray(values >= largest / 2 if fractions and largest > 0 else values > 0)
    cut = max(largest / 2, _NOISE)
    between = (values >= 2 * _NOISE) & (values < cut)
    if minimum_filter(between, size=9).any():
        raise DatasetError(
            f"The mask {path} has areas of several levels and is compressed with losses, so it "
            "does not say which pixels are defective. Save it as PNG."
        )
    return np.asarray(values >= cut)
