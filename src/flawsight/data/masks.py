"""The only reader of ground-truth masks: files, folders or annotations → pixels of the image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DatasetError
from ..io.pages import choose_page, orientation_of, settle_tiff_exif
from .coco_annotations import annotated_mask
from .dataset import Sample
from .mask_pixels import read_marked
from .walk import is_image_file, walk

Mask = NDArray[np.bool_]


class MaskSizeError(DatasetError):
    """A mask fits its image neither upright nor as stored."""


def read_gt_mask(sample: Sample, image_size: tuple[int, int] | None = None) -> Mask:
    """Return the (height, width) ground truth of a sample whose pixels are labelled.

    A mask of the photo's stored pixels is turned with the photo. One of another size but the same
    aspect ratio is resized to the nearest pixels. Several masks are united.

    Args:
        sample: with a mask or annotations, or normal.
        image_size: (height, width) of the upright image; needed if there is no mask file. None
            gives the mask in its own size.

    Raises:
        DatasetError: if the mask cannot be read or does not fit the image.
        MissingExtraError: if there are polygons, and pycocotools is not installed.
    """
    if sample.mask is not None:
        return _of_files(sample.masks, sample.image, image_size)
    if image_size is None:
        raise DatasetError(f"The size of {sample.image} is not known.")
    if not sample.has_mask:
        return np.zeros(image_size, bool)
    orientation = _orientation(sample.image)
    stored = image_size if orientation < 5 else image_size[::-1]
    if sample.annotated_size in (None, stored):
        return turned(annotated_mask(sample, stored), orientation)
    if sample.annotated_size == image_size:
        return annotated_mask(sample, image_size)
    height, width = sample.annotated_size
    raise MaskSizeError(
        f"{sample.image} is {stored[1]}×{stored[0]} pixels, but its annotations are of "
        f"{width}×{height}. Correct width and height in the file of annotations."
    )


def read_mask_file(path: Path) -> Mask:
    """Return the mask (height, width) of a file, or the union of those of a folder, upright.

    Raises:
        DatasetError: if it cannot be read.
    """
    return _of_files((path,), None, None)


def may_be_turned(sample: Sample, image_size: tuple[int, int]) -> bool:
    """Whether the photo is marked as turned, and its mask's size fits with and without that.

    `read_gt_mask` then takes annotations to be of the stored pixels, and files to be upright.

    Raises:
        DatasetError: if the mask cannot be read.
    """
    orientation = _orientation(sample.image) if sample.has_mask else 1
    if orientation == 1:
        return False
    if sample.mask is None and sample.annotated_size is None:
        return True
    if orientation > 4 and image_size[0] != image_size[1]:
        return False
    files = (file for mask in sample.masks for file in _files(mask))
    return all(read_marked(file)[1] == 1 for file in files)


def _orientation(image: Path) -> int:
    """Return the orientation by which `read_image` turns a file, 1 to 8; 1 if it has none."""
    try:
        with Image.open(image) as file:
            choose_page(file, str(image))
            settle_tiff_exif(file)
            return orientation_of(file)[0]
    except Exception:  # reading the image, where it matters, says what is wrong
        return 1


def turned(mask: Mask, orientation: int) -> Mask:
    """Turn a mask of stored pixels upright, by its EXIF orientation from 1 to 8."""
    if orientation in (5, 6, 7, 8):
        mask = mask.T
    if orientation in (2, 3, 6, 7):
        mask = mask[:, ::-1]
    if orientation in (3, 4, 7, 8):
        mask = mask[::-1]
    return mask


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [file for file in walk(path)[0] if is_image_file(file)]
    if not files:
        raise DatasetError(f"The folder {path} holds no mask.")
    return files


def _of_files(paths: Sequence[Path], image: Path | None, size: tuple[int, int] | None) -> Mask:
    parts = [_of_file(file, image, size) for path in paths for file in _files(path)]
    if len({part.shape for part in parts}) > 1:
        folder = paths[0] if paths[0].is_dir() else paths[0].parent
        raise DatasetError(f"The masks in {folder} have several sizes.")
    return np.asarray(np.logical_or.reduce(parts))


def _of_file(path: Path, image: Path | None, size: tuple[int, int] | None) -> Mask:
    stored, orientation = read_marked(path)
    upright = turned(stored, orientation)
    if size is None or upright.shape == tuple(size):
        return upright
    candidates = [upright, stored]
    if image is not None:
        candidates.append(turned(stored, _orientation(image)))
    for candidate in candidates:
        if candidate.shape == tuple(size):
            return candidate
    for candidate in candidates:
        if _same_aspect(candidate.shape, size):
            rows, columns = (
                ((np.arange(new) + 0.5) * old / new).astype(int)
                for new, old in zip(size, candidate.shape, strict=True)
            )
            return candidate[np.ix_(rows, columns)]
    raise MaskSizeError(
        f"The mask {path} is {stored.shape[1]}×{stored.shape[0]} pixels, its image "
        f"{size[1]}×{size[0]}. Masks must have the size of their image, or its aspect ratio."
    )


def _same_aspect(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether a size is another one scaled and rounded to whole pixels."""
    difference = abs(one[0] * other[1] - one[1] * other[0])
    return difference < max(other)
