"""A map that is a grid of cells interpolated is kept as that grid: a hundredth of the bytes."""

from functools import lru_cache

import numpy as np
import torch

from ..inspection import FloatArray
from ..real.anomaly_map import upsample

# Less than half precision, in which maps are kept, takes away.
_TOLERANCE = 1e-4


def to_grid(anomaly_map: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return the grid that `from_grid` makes the map of, or the map itself if there is none.

    Args:
        anomaly_map: (height, width).
        shape: (rows, cols) that the grid would have.
    """
    height, width = anomaly_map.shape
    rows, cols = shape
    grid = (_inverse(rows, height) @ anomaly_map @ _inverse(cols, width).T).astype(np.float32)
    made = from_grid(grid, (height, width))
    return grid if np.abs(made - anomaly_map).max() <= _TOLERANCE else anomaly_map


def from_grid(grid: FloatArray, image_size: tuple[int, int]) -> FloatArray:
    """Return the map, (height, width) as `image_size` says, of what `to_grid` returned."""
    made: FloatArray = upsample(torch.from_numpy(grid), image_size).numpy()
    return made


@lru_cache(64)
def _inverse(cells: int, pixels: int) -> FloatArray:
    """Return the (cells, pixels) least squares inverse of `upsample` along one side."""
    inverse: FloatArray = np.linalg.pinv(upsample(torch.eye(cells), (pixels, cells)).numpy())
    return inverse
