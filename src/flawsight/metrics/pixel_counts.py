"""Pixels of any number of maps counted by score, in constant memory.

A key is the top bits of a float32's order-preserving integer form: sign, exponent, some mantissa.
Larger scores have larger keys. KEY_BITS = 20 leaves 11 bits of mantissa, one more than float16 has,
so different float16 scores never share a key.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from ..errors import DetectorError
from ..inspection import FloatArray
from .ranking import Array, ThresholdCounts, check_finite

KEY_BITS = 20
COARSE_BITS = 16  # for the bootstrap: 7 bits of mantissa, a resolution of 0.4 to 0.8 %

Mask = NDArray[np.bool_]
Keys = NDArray[np.int64]


class PixelCounter:
    """Counts the pixels of one map after another.

    Up to `exact_pixels` pixels the counts are exact and take at most 12 bytes per pixel. Beyond,
    they take 24 MiB, and scores that share a key count as equal: those that differ by at most 2⁻¹¹
    of their size. The `…_error` functions of ranking.py bound the effect on a metric. Float16
    scores and `accuracy` stay exact.

    Attributes:
        exact: whether the counts are exact.
    """

    def __init__(self, exact_pixels: int = 2**21, threshold: float | None = None) -> None:
        """Start with no pixels.

        Args:
            exact_pixels: ≥ 0, up to which number of pixels the counts are exact.
            threshold: for `accuracy`, as a float32: a pixel is marked iff its score ≥ it.
        """
        self.exact = True
        self._exact_pixels = exact_pixels
        self._threshold = threshold
        self._kept: list[_Pixels] = []
        self._negatives = np.zeros(0, np.int64)
        self._positives = np.zeros(0, np.int64)
        self._overlap = np.zeros(0)
        self._regions = self._pixels = self._correct = 0

    def update(self, anomaly_map: FloatArray, gt_mask: Mask) -> None:
        """Count one map.

        Args:
            anomaly_map: (height, width) finite, counted as float32.
            gt_mask: (height, width) True for a defect; regions are 8-connected.

        Raises:
            DetectorError: if a score is not finite or the sizes differ.
        """
        pixels = _pixels_of(anomaly_map, gt_mask)
        self._pixels += pixels.negatives.size + pixels.positives.size
        self._regions += pixels.regions
        if self._threshold is not None:
            threshold = np.float32(self._threshold)
            self._correct += int(np.count_nonzero(pixels.negatives < threshold))
            self._correct += int(np.count_nonzero(pixels.positives >= threshold))
        if self.exact:
            self._kept.append(pixels)
            if self._pixels > self._exact_pixels:
                self._collapse()
        else:
            self._bin(pixels)

    def counts(self) -> ThresholdCounts:
        """Return the counts so far.

        A binned score is its bin's lower edge, so "score ≥ scores[k]" holds for exactly the pixels
        that were counted.
        """
        if not self.exact:
            return _counts(KEY_BITS, self._negatives, self._positives, self._overlap, self._regions)
        negatives = np.concatenate([np.zeros(0, np.float32), *(p.negatives for p in self._kept)])
        positives = np.concatenate([np.zeros(0, np.float32), *(p.positives for p in self._kept)])
        shares = np.concatenate([np.zeros(0), *(p.shares for p in self._kept)])
        scores, place = np.unique(np.concatenate([negatives, positives]), return_inverse=True)
        negative, positive = np.split(place, [negatives.size])
        size = scores.size
        return ThresholdCounts(
            scores[::-1].astype(np.float64),
            np.bincount(negative, minlength=size)[::-1].astype(np.float64),
            np.bincount(positive, minlength=size)[::-1].astype(np.float64),
            np.bincount(positive, shares, minlength=size)[::-1].astype(np.float64),
            float(self._regions),
        )

    def accuracy(self) -> float:
        """Return the exact share of correctly classified pixels at the threshold; NaN without any.

        Raises:
            ValueError: if the counter has no threshold.
        """
        if self._threshold is None:
            raise ValueError("Pixel accuracy needs PixelCounter(threshold=…).")
        return self._correct / self._pixels if self._pixels else float("nan")

    def _collapse(self) -> None:
        self.exact = False
        self._negatives = np.zeros(2**KEY_BITS, np.int64)
        self._positives = np.zeros(2**KEY_BITS, np.int64)
        self._overlap = np.zeros(2**KEY_BITS)
        for pixels in self._kept:
            self._bin(pixels)
        self._kept.clear()

    def _bin(self, pixels: "_Pixels") -> None:
        negative = _keys(pixels.negatives, KEY_BITS)
        positive = _keys(pixels.positives, KEY_BITS)
        np.add.at(self._negatives, negative, 1)
        np.add.at(self._positives, positive, 1)
        np.add.at(self._overlap, positive, pixels.shares)


@dataclass(frozen=True)
class CoarseCounts:
    """The pixels of one map, coarse enough to keep for every image of a bootstrap.

    Attributes:
        keys: (k,) rising, the top COARSE_BITS bits of the scores.
        negatives, positives, overlap: (k,) as in `ThresholdCounts`.
        regions: number of defect regions.
    """

    keys: NDArray[np.uint16]
    negatives: NDArray[np.int64]
    positives: NDArray[np.int64]
    overlap: Array
    regions: int


@dataclass(frozen=True)
class StackedCounts:
    """The pixels of n images, for resampling.

    Attributes:
        scores: (K,) falling, lower edges of bins.
        negatives, positives, overlap: (n, K) sparse, as in `ThresholdCounts`.
        regions: (n,) number of defect regions.
    """

    scores: Array
    negatives: sparse.csr_array
    positives: sparse.csr_array
    overlap: sparse.csr_array
    regions: Array

    def resampled(self, weights: Array, chunk: int = 100) -> Iterator[ThresholdCounts]:
        """Yield the counts of `chunk` resamples at a time, (chunk, K), for (B, n) weights."""
        for start in range(0, len(weights), chunk):
            drawn = weights[start : start + chunk]
            yield ThresholdCounts(
                self.scores,
                drawn @ self.negatives,
                drawn @ self.positives,
                drawn @ self.overlap,
                drawn @ self.regions,
            )


def image_counts(anomaly_map: FloatArray, gt_mask: Mask) -> CoarseCounts:
    """Count one map coarsely; arguments and errors as of `PixelCounter.update`."""
    pixels = _pixels_of(anomaly_map, gt_mask)
    negative = _keys(pixels.negatives, COARSE_BITS)
    positive = _keys(pixels.positives, COARSE_BITS)
    negatives = np.bincount(negative, minlength=2**COARSE_BITS)
    positives = np.bincount(positive, minlength=2**COARSE_BITS)
    overlap = np.bincount(positive, pixels.shares, minlength=2**COARSE_BITS).astype(np.float64)
    used = np.flatnonzero(negatives + positives)
    return CoarseCounts(
        used.astype(np.uint16), negatives[used], positives[used], overlap[used], pixels.regions
    )


def stack(images: Sequence[CoarseCounts]) -> StackedCounts:
    """Stack the counts of n ≥ 1 images."""
    used, place = np.unique(np.concatenate([image.keys for image in images]), return_inverse=True)
    column = used.size - 1 - place
    row = np.repeat(np.arange(len(images)), [image.keys.size for image in images])

    def matrix(name: str) -> sparse.csr_array:
        values = np.concatenate([getattr(image, name) for image in images]).astype(np.float64)
        result = sparse.csr_array((values, (row, column)), shape=(len(images), used.size))
        result.eliminate_zeros()
        return result

    return StackedCounts(
        _lower_edges(used, COARSE_BITS)[::-1],
        matrix("negatives"),
        matrix("positives"),
        matrix("overlap"),
        np.array([image.regions for image in images], np.float64),
    )


@dataclass(frozen=True)
class _Pixels:
    """One map's scores by label; shares: for each positive pixel, 1 / size of its region."""

    negatives: NDArray[np.float32]
    positives: NDArray[np.float32]
    shares: Array
    regions: int


def _pixels_of(anomaly_map: FloatArray, gt_mask: Mask) -> _Pixels:
    scores, truth = np.asarray(anomaly_map, np.float32), np.asarray(gt_mask, bool)
    if scores.ndim != 2 or scores.shape != truth.shape:
        raise DetectorError(
            f"The anomaly map is {scores.shape}, its ground truth {truth.shape}; both must be "
            "(height, width) of the image."
        )
    check_finite(scores)
    positives = scores[truth]
    if not positives.size:
        return _Pixels(scores.ravel().copy(), positives, np.zeros(0), 0)
    label, regions = ndimage.label(truth, structure=np.ones((3, 3)))
    region = label[truth]
    return _Pixels(scores[~truth], positives, 1 / np.bincount(region)[region], regions)


def _keys(scores: NDArray[np.float32], bits: int) -> Keys:
    """Return the top bits of the scores' order-preserving integers."""
    whole = (scores + np.float32(0)).view(np.uint32)  # + 0: −0 becomes 0, its equal
    ordered = np.where(whole >> 31, ~whole, whole | np.uint32(2**31))
    return (ordered >> np.uint32(32 - bits)).astype(np.int64)


def _lower_edges(keys: NDArray[np.integer], bits: int) -> Array:
    """Return the least score of each key."""
    ordered = keys.astype(np.uint32) << np.uint32(32 - bits)
    whole = np.where(ordered >> 31, ordered ^ np.uint32(2**31), ~ordered)
    return whole.view(np.float32).astype(np.float64)


def _counts(
    bits: int,
    negatives: NDArray[np.int64],
    positives: NDArray[np.int64],
    overlap: Array,
    regions: int,
) -> ThresholdCounts:
    used = np.flatnonzero(negatives + positives)[::-1]
    return ThresholdCounts(
        _lower_edges(used, bits),
        negatives[used].astype(np.float64),
        positives[used].astype(np.float64),
        overlap[used],
        float(regions),
    )
