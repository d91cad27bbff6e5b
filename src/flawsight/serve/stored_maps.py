"""How a map is kept: as the grid of cells that it interpolates, a hundredth of the bytes, or small.

A map that follows edges is no such grid. It is drawn on a small copy of the photo and interpolated
from there, so that of a large photo's map a small one keeps all but a hundredth at kinks. Its
values are rounded, which halves the bytes that are left when it is compressed.
"""

from functools import lru_cache

import numpy as np
from PIL import Image

from ..inspection import FloatArray

# Less than half precision, in which maps are kept, takes away.
_TOLERANCE = 1e-4
# Of a map that is no grid, in pixels; and in how many steps from 0 to 1 it is kept.
_MAX_SIDE = 512
_STEPS = 1024


def to_grid(anomaly_map: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return the grid that `from_grid` makes the map of, or a small, rounded map if there is none.

    Args:
        anomaly_map: (height, width).
        shape: (rows, cols) that the grid would have.
    """
    height, width = anomaly_map.shape
    rows, cols = shape
    # A few of its rows tell most maps that are no grid.
    few = anomaly_map[:: -(-height // 8)]
    across = _inverse(cols, width).T
    if np.abs(few @ across @ _interpolation(cols, width).T - few).max() <= _TOLERANCE:
        grid = (_inverse(rows, height) @ anomaly_map @ across).astype(np.float32)
        if np.abs(from_grid(grid, (height, width)) - anomaly_map).max() <= _TOLERANCE:
            return grid
    scale = _MAX_SIDE / max(height, width)
    if scale < 1:
        small = max(1, round(height * scale)), max(1, round(width * scale))
        anomaly_map = from_grid(anomaly_map, small)
    rounded: FloatArray = np.round(anomaly_map * _STEPS) / np.float32(_STEPS)
    return rounded


def from_grid(grid: FloatArray, image_size: tuple[int, int]) -> FloatArray:
    """Return the map, (height, width) as `image_size` says, of what `to_grid` returned.

    Pillow's interpolation is that of `real.anomaly_map.upsample`, without workers of torch, which
    would get in the way of the model's (see `cli.serve`).
    """
    height, width = image_size
    bilinear = Image.Resampling.BILINEAR
    made: FloatArray = np.asarray(Image.fromarray(grid).resize((width, height), bilinear))
    return made


@lru_cache(64)
def _inverse(cells: int, pixels: int) -> FloatArray:
    """Return the (cells, pixels) least squares inverse of `from_grid` along one side."""
    inverse: FloatArray = np.linalg.pinv(_interpolation(cells, pixels))
    return inverse


@lru_cache(64)
def _interpolation(cells: int, pixels: int) -> FloatArray:
    """Return the (pixels, cells) matrix by which `from_grid` interpolates along one side."""
    return from_grid(np.eye(cells, dtype=np.float32), (pixels, cells))
