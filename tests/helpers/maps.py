"""Random maps with masks, and their counts."""

from typing import Any

import numpy as np
from scipy import ndimage

from flawsight.metrics.pixel_counts import PixelCounter
from flawsight.metrics.ranking import Array, ThresholdCounts

Images = list[tuple[Array, Array]]


def random_images(seed: int, number: int = 3, dtype: Any = np.float32, side: int = 24) -> Images:
    """Smooth maps of either sign, higher in some regions; the first image has no defect."""
    random = np.random.default_rng(seed)
    images = []
    for index in range(number):
        noise = ndimage.gaussian_filter(random.normal(size=(side, side)), random.uniform(0.3, 3))
        gt_mask = ndimage.gaussian_filter(random.normal(size=(side, side)), 1.5) > 0.1
        gt_mask &= index > 0
        images.append(((noise + 0.1 * gt_mask).astype(dtype).astype(np.float32), gt_mask))
    return images


def count(images: Images, exact_pixels: int = 2**22) -> ThresholdCounts:
    counter = PixelCounter(exact_pixels)
    for anomaly_map, gt_mask in images:
        counter.update(anomaly_map, gt_mask)
    return counter.counts()
