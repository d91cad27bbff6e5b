"""Ranking metrics from counts per threshold: AUROC, average precision, F1-max, AUPRO.

All broadcast over leading axes, such as bootstrap resamples. In the docstrings n_k, p_k are the
negatives and positives with the k-th highest score, N, P their sums, and FP_k, TP_k the sums of the
first k. With one class only, every metric is undefined: NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DetectorError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ThresholdCounts:
    """Negatives and positives by score, from the highest score to the lowest.

    Attributes:
        scores: (K,) distinct, falling; "score ≥ scores[k]" is the k-th threshold.
        negatives, positives: (..., K) number, or sum of weights, with that score; ≥ 0.
        overlap: (..., K) share of a defect region's pixels with that score, summed over the
            regions; in total `regions`. None for images.
        regions: (...) number of defect regions.
    """

    scores: Array
    negatives: Array
    positives: Array
    overlap: Array | None = None
    regions: Array | float = 0.0


def counts_of(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> ThresholdCounts:
    """Count labels by score; equal scores are counted together.

    Args:
        labels: (n,) True for a defect.
        scores: (n,) finite, higher for a defect.
        weights: (..., n) ≥ 0; None: 1 each.

    Raises:
        DetectorError: if a score is not finite or the lengths differ.
    """
    truth, values = np.asarray(labels, bool), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise DetectorError(f"There are {truth.shape} labels for {values.shape} scores.")
    check_finite(values)
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    first = np.flatnonzero(np.r_[True, falling[1:] != falling[:-1]][: len(falling)])
    weighted = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    weighted = weighted[..., order]
    if not len(values):
        return ThresholdCounts(falling, weighted, weighted)
    return ThresholdCounts(
        falling[first],
        np.add.reduceat(weighted * ~truth[order], first, axis=-1),
        np.add.reduceat(weighted * truth[order], first, axis=-1),
    )


def check_finite(values: NDArray[np.floating]) -> None:
    """Check that all scores can be ranked.

    Raises:
        DetectorError: if one is NaN or infinite.
    """
    wrong = values.size - int(np.count_nonzero(np.isfinite(values)))
    if wrong:
        raise DetectorError(
            f"{wrong} of {values.size} scores are NaN or infinite and cannot be ranked; "
            "the detector must give finite scores."
        )


def auroc(counts: ThresholdCounts) -> Array:
    """(...) P(a positive scores above a negative), ties half: Σ n_k (TP_k − p_k/2)/PN."""
    above = np.cumsum(counts.positives, axis=-1) - counts.positives / 2
    return _ratio((counts.negatives * above).sum(axis=-1), _pairs(counts))


def average_precision(counts: ThresholdCounts) -> Array:
    """(...) area under the precision-recall curve by steps, AUPR: Σ (p_k/P) TP_k/(TP_k + FP_k)."""
    true, false = np.cumsum(counts.positives, axis=-1), np.cumsum(counts.negatives, axis=-1)
    weighted = counts.positives * _ratio(true, true + false, 0.0)
    mean = _ratio(weighted.sum(axis=-1), counts.positives.sum(axis=-1))
    return np.where(_pairs(counts) == 0, np.nan, mean)


def f1_max(counts: ThresholdCounts) -> Array:
    """(...) highest F1 of any threshold, max 2 TP_k/(P + TP_k + FP_k)."""
    true, false = np.cumsum(counts.positives, axis=-1), np.cumsum(counts.negatives, axis=-1)
    f1 = _ratio(2 * true, true[..., -1:] + true + false, 0.0)
    return np.where(_pairs(counts) == 0, np.nan, f1.max(axis=-1, initial=0.0))


def aupro(counts: ThresholdCounts, limit: float = 0.3) -> Array:
    """(...) area under the mean overlap of regions against FP_k/N up to `limit`, over `limit`.

    Each region counts equally, whatever its size. The curve starts at (0, 0) and is linear between
    thresholds and up to the limit. In [0, 1]; NaN without a region or without a negative pixel.

    Raises:
        ValueError: if the limit is outside (0, 1] or the counts hold no regions' overlap.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"The limit must be in (0, 1], not {limit}.")
    if counts.overlap is None:
        raise ValueError("AUPRO needs the overlap of regions; these counts have none.")
    negatives, regions = counts.negatives.sum(axis=-1), np.asarray(counts.regions, np.float64)
    width = _ratio(counts.negatives, negatives[..., None], 0.0)
    start = np.cumsum(width, axis=-1) - width
    rise = _ratio(counts.overlap, regions[..., None], 0.0)
    high = np.cumsum(rise, axis=-1)
    low = high - rise
    # The fraction of each segment before the limit.
    part = np.clip(_ratio(limit - start, width, 1.0), 0.0, 1.0)
    area = (width * part * (low + (high - low) * part / 2)).sum(axis=-1) / limit
    # Clipped only against rounding.
    return np.where((regions == 0) | (negatives == 0), np.nan, np.clip(area, 0.0, 1.0))


def _pairs(counts: ThresholdCounts) -> Array:
    return np.asarray(counts.positives.sum(axis=-1) * counts.negatives.sum(axis=-1))


def _ratio(above: ArrayLike, below: ArrayLike, undefined: float = np.nan) -> Array:
    """Divide; the result is `undefined` if the divisor is 0."""
    over, under = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    result = np.full(over.shape, undefined)
    np.divide(over, under, out=result, where=under != 0)
    return result
