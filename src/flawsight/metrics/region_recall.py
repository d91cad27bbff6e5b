"""Region recall: the share of defect regions found at an allowed rate of false alarms.

At a threshold t the detections of a map are the 8-connected components of map ≥ t, each at its
highest pixel. A defect region is found if a detection lies in it or close to it. A detection close
to no region is a false alarm. A map that marks everything is one detection: it finds one defect.

All thresholds are covered exactly. As t falls, a component appears at a peak of the map (its birth)
and ends when it touches a component with a higher peak (its death). The detections at t are the
peaks with death < t ≤ birth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..inspection import FloatArray
from .pixel_counts import Mask
from .ranking import Array, check_finite

# How far from a defect a detection may be, in units of the image's longer side: most of a cell of a
# 15 × 15 grid, since a map of that grid has no finer resolution.
TOLERANCE = 0.05
_HALF_PLANE = ((0, 1), (1, -1), (1, 0), (1, 1))  # each pair of touching pixels once


@dataclass(frozen=True)
class Detections:
    """The peaks of one map, and the region that each finds.

    Attributes:
        births: (k,) value of each peak.
        deaths: (k,) below its birth: the threshold at which it merges with a higher peak.
        found: (k,) number of the region that it finds, 1 to `regions`, or 0 for a false alarm.
        regions: number of defect regions.
    """

    births: Array
    deaths: Array
    found: NDArray[np.int64]
    regions: int


def peaks(anomaly_map: FloatArray) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return births, deaths (−inf for the highest peak) and flat positions of a map's peaks.

    Raises:
        DetectorError: if a score is not finite.
    """
    values = np.asarray(anomaly_map, np.float64)
    check_finite(values)
    height, width = values.shape
    # Equal pixels are ordered by position, so a plateau keeps one peak.
    at_rank = np.argsort(values.ravel(), kind="stable")
    rank = np.empty(values.size, np.int64)
    rank[at_rank] = np.arange(values.size)
    padded = np.pad(rank.reshape(height, width), 1, constant_values=-1)
    windows = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    summit = at_rank[np.max(windows, axis=0).ravel()]  # the highest neighbour, or the pixel itself
    while not np.array_equal(summit, higher := summit[summit]):
        summit = higher
    tops, basin = np.unique(summit, return_inverse=True)
    births = values.ravel()[tops]
    deaths = np.full(tops.size, -np.inf)
    root = np.arange(tops.size)

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = root[root[one]]
            one = root[one]
        return one

    for first, second, saddle in zip(*_passes(values, basin.reshape(values.shape)), strict=True):
        low, high = sorted((find(first), find(second)), key=lambda one: rank[tops[one]])
        if low != high:
            deaths[low] = saddle
            root[low] = high
    lasting = deaths < births
    return births[lasting], deaths[lasting], tops[lasting]


def detections(anomaly_map: FloatArray, gt_mask: Mask, tolerance: float = TOLERANCE) -> Detections:
    """Find the peaks of a (height, width) map and the 8-connected regions that they find.

    Raises:
        DetectorError: if a score is not finite.
    """
    births, deaths, positions = peaks(anomaly_map)
    label, regions = ndimage.label(gt_mask, structure=np.ones((3, 3)))
    found = np.zeros(len(births), np.int64)
    if regions:
        distance, nearest = ndimage.distance_transform_edt(~gt_mask, return_indices=True)
        close = distance.ravel()[positions] <= tolerance * max(gt_mask.shape)
        found = np.where(close, label[tuple(nearest)].ravel()[positions], 0)
    return Detections(births, deaths, found, regions)


def region_recall(
    images: Sequence[Detections], weights: Array | None = None, false_alarms: float = 1.0
) -> Array:
    """(...) highest share of regions found at any threshold with few enough false alarms.

    Args:
        images: n ≥ 1 images, defective and normal.
        weights: (..., n) ≥ 0; None: 1 each.
        false_alarms: allowed per image, on average over all images.

    Returns:
        In [0, 1]; NaN without a region.
    """
    weighted = np.ones(len(images)) if weights is None else np.asarray(weights, np.float64)
    regions = (weighted * [image.regions for image in images]).sum(axis=-1)
    image, births, deaths, found = (
        np.concatenate(parts)
        for parts in zip(
            *((np.full(len(d.births), i), d.births, d.deaths, d.found)
              for i, d in enumerate(images)),
            strict=True,
        )
    )  # fmt: skip
    alarm = found == 0
    thresholds = np.unique(np.concatenate([births, deaths[np.isfinite(deaths)]]))[::-1]
    alarms = _alive(thresholds, births[alarm], deaths[alarm], weighted[..., image[alarm]])
    hit = (image[~alarm], found[~alarm], births[~alarm], deaths[~alarm])
    hits = _alive(thresholds, _counted_once(*hit), deaths[~alarm], weighted[..., image[~alarm]])
    allowed = alarms <= false_alarms * weighted.sum(axis=-1, keepdims=True)
    best = np.where(allowed, hits, 0.0).max(axis=-1, initial=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(regions > 0, best / regions, np.nan))


def _passes(values: Array, basin: NDArray[np.int64]) -> tuple[list[int], list[int], list[float]]:
    """Return pairs of touching basins with the highest pass between them, highest first."""
    height, width = values.shape
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], Array]] = []
    for down, right in _HALF_PLANE:
        here = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        there = (slice(down, height), slice(max(0, right), width + min(0, right)))
        apart = basin[here] != basin[there]
        saddle = np.minimum(values[here], values[there])[apart]
        found.append((basin[here][apart], basin[there][apart], saddle))
    first, second, saddle = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-saddle, kind="stable")
    first, second = np.minimum(first, second)[order], np.maximum(first, second)[order]
    highest = np.sort(np.unique(first * values.size + second, return_index=True)[1])
    return first[highest].tolist(), second[highest].tolist(), saddle[order][highest].tolist()


def _counted_once(
    image: NDArray[np.int64], found: NDArray[np.int64], births: Array, deaths: Array
) -> Array:
    """Return births so low that no two of the (death, birth] of peaks of one region overlap."""
    lowered = births.copy()
    covered: dict[tuple[int, int], float] = {}  # down to which threshold a region is found
    for one in np.argsort(-births, kind="stable"):
        region = (int(image[one]), int(found[one]))
        bottom = covered.get(region, np.inf)
        lowered[one] = max(deaths[one], min(births[one], bottom))
        covered[region] = min(deaths[one], bottom)
    return lowered


def _alive(thresholds: Array, births: Array, deaths: Array, weights: Array) -> Array:
    """(..., T) weight of the intervals with death < t ≤ birth, for falling thresholds."""
    steps = np.zeros((*weights.shape[:-1], len(thresholds) + 1))
    rising = thresholds[::-1]
    for ends, sign in ((births, 1.0), (deaths, -1.0)):
        # The first threshold, counted from the highest, that is ≤ the end.
        at = len(thresholds) - np.searchsorted(rising, ends, side="right")
        np.add.at(steps.T, at, sign * weights.T)
    alive: Array = np.cumsum(steps, axis=-1)[..., :-1]
    return alive
