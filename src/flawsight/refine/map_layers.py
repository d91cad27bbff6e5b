"""What a map is made of: the density of the whole image and those of its crops, on their own grids.

They are a few kB without loss, and give the map that regions are drawn in: the one that is stored
has been filtered and rounded.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..inspection import Box, FloatArray
from ..real.anomaly_map import HALF
from .crops import merge_crops

_HEAD = 6  # box, rows and columns of a layer, before its values


def pack_layers(
    whole: Tensor, crops: Sequence[tuple[Box, Tensor, float]], image_size: tuple[int, int]
) -> FloatArray:
    """Return layers as one array: of each its box, rows, columns and values; the image's first.

    Args:
        whole: (grid_h, grid_w) density of the whole image.
        crops: of each its box in pixels, its (h, w) density, and P(Yes), which weighs it.
        image_size: (height, width).
    """
    height, width = image_size
    layers = [((0, 0, width, height), whole)]
    layers += [(box, 2 * score * inside) for box, inside, score in crops]
    return np.concatenate(
        [np.array([*box, *grid.shape, *grid.flatten().tolist()]) for box, grid in layers]
    ).astype(np.float32)


def map_of_layers(layers: FloatArray) -> FloatArray:
    """Return the (height, width) map in [0, 1) of packed layers, before the guided filter.

    Raises:
        ValueError: if the array holds no layers.
    """
    found: list[tuple[Box, Tensor]] = []
    while len(layers):
        left, top, width, height, rows, columns = (int(value) for value in layers[:_HEAD])
        end = _HEAD + rows * columns
        grid = torch.from_numpy(layers[_HEAD:end].reshape(rows, columns).copy())
        found.append(((left, top, width, height), grid))
        layers = layers[end:]
    if not found:
        raise ValueError("it holds no layers")
    ((_, _, width, height), whole), *crops = found
    merged = merge_crops(whole, [(box, grid, 0.5) for box, grid in crops], (height, width))
    anomaly_map: FloatArray = (merged / (merged + HALF)).numpy()
    return anomaly_map
