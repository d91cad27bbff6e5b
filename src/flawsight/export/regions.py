"""Anomaly map → mask → regions: the one place where an export's threshold is applied."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from ..inspection import FloatArray
from ..report.overlay import VISIBLE

# A run holds a threshold of scores (--threshold, --calibration) but none of pixels, so a mask is
# what the overlay and the report colour. It does not heed the verdict.
MAP_THRESHOLD = VISIBLE
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """One 8-connected region of a mask, in pixels of the upright image.

    Attributes:
        mask: (height, width) of the whole image, True inside the region.
        box: (left, top, width, height).
        score: the largest value of the map inside.
    """

    mask: Mask
    box: tuple[int, int, int, int]
    score: float

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))


def mask_of(anomaly_map: FloatArray, threshold: float) -> Mask:
    """Return the pixels whose value is above the threshold, (height, width)."""
    return anomaly_map > np.float32(threshold)


def regions_of(anomaly_map: FloatArray, threshold: float) -> Iterator[Region]:
    """Yield the regions of a map's mask, in the order of their topmost, leftmost pixel.

    Args:
        anomaly_map: (height, width), higher for a defect.
        threshold: see `mask_of`.
    """
    labels, _ = label(mask_of(anomaly_map, threshold), np.ones((3, 3)))
    for number, (rows, columns) in enumerate(find_objects(labels), start=1):
        mask = labels == number
        box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        yield Region(mask, box, float(anomaly_map[mask].max()))
