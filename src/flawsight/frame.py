"""Where a region of interest lies in a photo, and arrays of one in the frame of the other."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import ImageError
from .roi import Box, Roi, RoiMask

Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
_SIDE = 32  # cells


@dataclass(frozen=True, eq=False)
class Frame:
    """The place of a region of interest in one photo.

    Attributes:
        image_size: (height, width) of the photo.
        box: (left, top, width, height) of what the model sees of it.
        inside: (height, width) of the box, True inside of the mask; None if all of it is.
    """

    image_size: tuple[int, int]
    box: Box
    inside: Mask | None = None


def frame_of(roi: Roi, image_size: tuple[int, int]) -> Frame:
    """Return where a region of interest lies in a photo of (height, width).

    Raises:
        ImageError: if a box leaves the photo, or a mask has another aspect or vanishes.
    """
    if roi.mask is None:
        return Frame(image_size, roi.box_in(image_size))
    height, width = image_size
    rows, columns = roi.mask.size
    # Up to rounding of the smaller one's sides.
    if abs(width * rows - height * columns) > max(width, height, rows, columns):
        raise ImageError(
            f"The mask of the region of interest has {columns}×{rows} pixels, and the photo "
            f"{width}×{height}: another aspect. Draw the mask on a photo like these."
        )
    down = (2 * np.arange(height) + 1) * rows // (2 * height)
    across = (2 * np.arange(width) + 1) * columns // (2 * width)
    mask = unpacked(roi.mask)[np.ix_(down, across)]
    if not mask.any():
        raise ImageError(
            f"Nothing is left of the mask of the region of interest in {width}×{height} pixels."
        )
    box = _bounds(mask)
    left, top, wide, high = box
    return Frame(image_size, box, mask[top : top + high, left : left + wide])


def unpacked(mask: RoiMask) -> Mask:
    """Return a mask as (height, width), True inside."""
    rows = np.frombuffer(mask.bits, np.uint8).reshape(mask.size[0], -1)
    return np.unpackbits(rows, axis=1, count=mask.size[1]).astype(np.bool_)


def _bounds(mask: Mask) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def masked(values: FloatArray, frame: Frame | None) -> FloatArray:
    """Return a map (height, width) of a frame's box that is 0 outside of its mask."""
    if frame is None or frame.inside is None:
        return values
    return np.where(frame.inside, values, np.float32(0))


def in_whole(values: FloatArray, frame: Frame | None) -> FloatArray:
    """Return a map of a frame's box as one of the whole photo, 0 outside."""
    if frame is None:
        return values
    left, top, width, height = frame.box
    whole = np.zeros(frame.image_size, np.float32)
    whole[top : top + height, left : left + width] = values
    return whole


def grid_in_whole(grids: FloatArray, box: Box, image_size: tuple[int, int]) -> FloatArray:
    """Return grids over a box as grids over the whole photo, 0 outside, to be looked at.

    Args:
        grids: (n, rows, columns).
        box: in pixels.
        image_size: (height, width).

    Returns:
        (n, h, w) with cells about as large, but at most `_SIDE` a side unless there were more.
    """
    left, top, width, height = box
    places = []
    sides = zip(grids.shape[1:], (top, left), (height, width), image_size, strict=True)
    for cells, start, extent, side in sides:
        count = min(max(1, round(cells * side / extent)), max(cells, _SIDE))
        centres = ((np.arange(count) + 0.5) * side / count - start) * cells / extent
        there = (centres >= 0) & (centres < cells)
        places.append((np.clip(centres.astype(int), 0, cells - 1), there))
    (rows, down), (columns, across) = places
    found: FloatArray = grids[:, rows[:, None], columns] * (down[:, None] & across)
    return found


@lru_cache(maxsize=16)
def cells_inside(text: str | None, grid: tuple[int, int]) -> Mask | None:
    """Return which cells of a grid over the box of a mask count: those at least half inside.

    Args:
        text: of the region of interest, or None.
        grid: (rows, columns).

    Returns:
        (rows, columns); at least one is True. None if all count, without a mask.
    """
    mask = None if text is None else Roi.parse(text).mask
    if mask is None:
        return None
    whole = unpacked(mask)
    left, top, width, height = _bounds(whole)
    cut = Image.fromarray(whole[top : top + height, left : left + width].astype(np.float32))
    share = np.asarray(cut.resize(grid[::-1], Image.Resampling.BOX))
    counted: Mask = share >= min(0.5, float(share.max()))
    return counted
