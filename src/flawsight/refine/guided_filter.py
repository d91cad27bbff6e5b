"""Filter the map along the edges of the image, from its pixels alone. Beyond the paper."""

import numpy as np
import torch
from PIL.Image import Image
from scipy.ndimage import uniform_filter

from ..inspection import FloatArray
from ..real.anomaly_map import upsample

# Radius in grid cells, and the squared contrast of an edge. Chosen on half of the validation
# families (docs/log.md).
RADIUS = 0.5
EPSILON = 1e-3


def guided_filter(anomaly_map: FloatArray, guide: FloatArray, cells: int) -> FloatArray:
    """Make a map follow the edges of an image by a guided filter (He et al. 2010).

    Around each pixel the map is fitted as a·guide + b, by least squares. If the guide is uniform
    there, the map is smoothed. A flat map stays flat.

    Args:
        anomaly_map: (height, width).
        guide: (h, w) brightness of the same image in [0, 1]; its size is that of the filter.
        cells: number of cells of the map's grid.

    Returns:
        (height, width), within the range of the input map.
    """
    size = 2 * max(1, round(RADIUS * (guide.size / cells) ** 0.5)) + 1

    def mean(values: FloatArray) -> FloatArray:
        return uniform_filter(values, size, mode="nearest")

    height, width = anomaly_map.shape
    coarse = _resized(anomaly_map, (guide.shape[0], guide.shape[1]))
    guide_mean, map_mean = mean(guide), mean(coarse)
    covariance = mean(guide * coarse) - guide_mean * map_mean
    slope = covariance / (mean(guide * guide) - guide_mean**2 + EPSILON)
    filtered = mean(slope) * guide + mean(map_mean - slope * guide_mean)
    return _resized(filtered, (height, width)).clip(anomaly_map.min(), anomaly_map.max())


def brightness(photo: Image) -> FloatArray:
    """Return a photo as (h, w) brightness in [0, 1], scaled down to 256 pixels if it is larger."""
    gray = photo.convert("L")
    gray.thumbnail((256, 256))
    return np.asarray(gray, np.float32) / np.float32(255)


def _resized(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    resized: FloatArray = upsample(torch.from_numpy(values), size).numpy()
    return resized
