"""The only reader of ground-truth masks, from files or polygons."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..errors import DatasetError
from .dataset import Sample

Mask = NDArray[np.bool_]


def read_gt_mask(sample: Sample, image_size: tuple[int, int] | None = None) -> Mask:
    """Return the (height, width) ground truth of a sample whose pixels are labelled.

    Args:
        sample: with a mask or polygons, or normal.
        image_size: (height, width) that it must have; needed if there is no mask file.

    Raises:
        DatasetError: if the mask cannot be read or has another size.
    """
    if sample.mask is None:
        if image_size is None:
            raise DatasetError(f"The size of {sample.image} is not known.")
        canvas = Image.new("1", (image_size[1], image_size[0]))
        for polygon in sample.polygons:
            ImageDraw.Draw(canvas).polygon(list(polygon), fill=1, outline=1)
        return np.array(canvas, dtype=bool)
    gt_mask = read_mask_file(sample.mask)
    if image_size is not None and gt_mask.shape != tuple(image_size):
        raise DatasetError(
            f"The mask {sample.mask} is {gt_mask.shape[1]}×{gt_mask.shape[0]} pixels, its image "
            f"{image_size[1]}×{image_size[0]}. Masks must have the size of their image."
        )
    return gt_mask


def read_mask_file(path: Path) -> Mask:
    """Return a mask file as (height, width), True for pixels above 0; alpha does not count.

    Raises:
        DatasetError: if it cannot be read.
    """
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file)
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise DatasetError(f"Cannot read the mask {path}: {error}") from error
    if pixels.ndim == 3:
        pixels = pixels[:, :, :3].max(axis=2)
    return np.asarray(pixels > 0)
