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


class PixelCounter:
    """Counts the pixels of one map after another.

    Up to `exact_pixels` pixels the counts are exact and take at most 12 bytes per pixel. Beyond,
    they take 24 MiB, and scores that share a key count as equal: those that differ by at most 2⁻¹¹
    of their size. benchmarks/error_bounds.py bounds the effect on a metric. Float16 scores and
    `accuracy` stay exact.

    Attributes:
        exact: whether the counts are exact.
    """

    def __init__(
        self,
        exact_pixels: int = 2**21,
        threshold: float | None = None,
        key_bits: int = KEY_BITS,
    ) -> None:
        """Start with no pixels.

        Args:
            exact_pixels: ≥ 0, up to which number of pixels the counts are exact.
            threshold: for `accuracy`, as a float32: a pixel is marked iff its score ≥ it.
            key_bits: of the keys beyond that number.
        """
        self.exact = True
        self._exact_pixels, self._threshold, self._bits = exact_pixels, threshold, key_bits
        self._kept: list[_Pixels] = []
        self._negatives = np.zeros(0, np.int64)
        self._positives = np.zeros(0, np.int64)
        self._overlap = np.zeros(0)
        self._regions = self._pixels = self._correct = 0

    def update(self, anomaly_map: FloatArray, gt_mask: Mask) -> None:
        """Count one (height, width) map, as float32; 8-connected regions of the mask are defects.

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
        """Return the counts so far. A binned score is its bin's lower edge."""
        if not self.exact:
            used = np.flatnonzero(self._negatives + self._positives)[::-1]
            return ThresholdCounts(
                _lower_edges(used, self._bits),
                self._negatives[used].astype(np.float64),
                self._positives[used].astype(np.float64),
                self._overlap[used],
                float(self._regions),
            )
        negatives = np.concatenate([np.zeros(0, np.float32), *(p.negatives for p in self._kept)])
        positives = np.concatenate([np.zeros(0, np.float32), *(p.positives for p in self._kept)])
        shares = np.concatenate([np.zeros(0), *(p.shares for p in self._kept)])
        scores, index = np.unique(np.concatenate([negatives, positives]), return_inverse=True)
        negative, positive = np.split(index, [negatives.size])
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
        self._negatives = np.zeros(2**self._bits, np.int64)
        self._positives = np.zeros(2**self._bits, np.int64)
        self._overlap = np.zeros(2**self._bits)
        for pixels in self._kept:
            self._bin(pixels)
        self._kept.clear()

    def _bin(self, pixels: "_Pixels") -> None:
        negative = _keys(pixels.negatives, self._bits)
        positive = _keys(pixels.positives, self._bits)
        np.add.at(self._negatives, negative, 1)
        np.add.at(self._positives, positive, 1)
        np.add.at(self._overlap, positive, pixels.shares)


def image_counts(anomaly_map: FloatArray, gt_mask: Mask) -> ThresholdCounts:
    """Count one map in few bins, to hold every image of a bootstrap; see `PixelCounter.update`."""
    counter = PixelCounter(exact_pixels=0, key_bits=COARSE_BITS)
    counter.update(anomaly_map, gt_mask)
    return counter.counts()


def resampled(
    images: Sequence[ThresholdCounts], weights: Array, chunk: int = 100
) -> Iterator[ThresholdCounts]:
    """Yield the counts of `chunk` resamples at a time, (chunk, K).

    Args:
        images: n ≥ 1 results of `image_counts`.
        weights: (B, n) how often each image is drawn.
        chunk: how many resamples to hold at once.
    """
    falling, column = np.unique(-np.concatenate([i.scores for i in images]), return_inverse=True)
    row = np.repeat(np.arange(len(images)), [image.scores.size for image in images])

    def matrix(name: str) -> sparse.csr_array:
        values = np.concatenate([getattr(image, name) for image in images])
        result = sparse.csr_array((values, (row, column)), shape=(len(images), falling.size))
        result.eliminate_zeros()
        return result

    negatives, positives, overlap = map(matrix, ("negatives", "positives", "overlap"))
    regions = np.array([image.regions for image in images], np.float64)
    for start in range(0, len(weights), chunk):
        drawn = weights[start : start + chunk]
        yield ThresholdCounts(
            -falling, drawn @ negatives, drawn @ positives, drawn @ overlap, drawn @ regions
        )


@dataclass(frozen=True)
class _Pixels:
    """One map's scores by label; for each positive pixel, its share: 1 / size of its region."""

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


def _keys(scores: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    """Return the top bits of the scores' order-preserving integers."""
    whole = (scores + np.float32(0)).view(np.uint32)  # + 0: −0 becomes 0, its equal
    ordered = np.where(whole >> 31, ~whole, whole | np.uint32(2**31))
    return (ordered >> np.uint32(32 - bits)).astype(np.int64)


def _lower_edges(keys: NDArray[np.integer], bits: int) -> Array:
    """Return the least score of each key."""
    ordered = keys.astype(np.uint32) << np.uint32(32 - bits)
    whole = np.where(ordered >> 31, ordered ^ np.uint32(2**31), ~ordered)
    return whole.view(np.float32).astype(np.float64)
