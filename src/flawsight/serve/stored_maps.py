"""The anomaly map as it is stored: at most 512 pixels a side, in steps of 1/1024.

Of a large photo's map, this loses 1/100 at sharp edges and less than 1/1000 on average. Rounding
halves the compressed size.
"""

import numpy as np
from PIL import Image

from ..inspection import FloatArray
from .stored_files import HalfArray

_MAX_SIDE = 512
_STEPS = 1024


def shrink_map(anomaly_map: FloatArray) -> HalfArray:
    """Return a (height, width) map in [0, 1] as it is stored."""
    height, width = anomaly_map.shape
    scale = _MAX_SIDE / max(height, width)
    if scale < 1:
        small = max(1, round(height * scale)), max(1, round(width * scale))
        anomaly_map = resize_map(anomaly_map, small)
    # Half precision holds these steps exactly.
    rounded: HalfArray = np.round(anomaly_map * _STEPS).astype(np.float16) / np.float16(_STEPS)
    return rounded


def resize_map(stored: FloatArray | HalfArray, image_size: tuple[int, int]) -> FloatArray:
    """Return a stored map at (height, width) of `image_size`.

    A map may be of any size: version 0.1 stored the grid of image tokens where it could. Pillow
    interpolates like `real.anomaly_map.upsample`, but without torch, whose threads here would slow
    down the model (see `cli.serve_command`).
    """
    height, width = image_size
    image = Image.fromarray(stored.astype(np.float32, copy=False))
    resized: FloatArray = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return resized
