"""How far binning can move a ranking metric, as a bound for each.

The bounds hold if each score is the edge of a bin and the order within bins is unknown. With exact
scores the metric is exact, whatever the bound. Symbols as in flawsight/metrics/ranking.py.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flawsight.metrics.ranking import ThresholdCounts, f1_max

Array = NDArray[np.float64]


def auroc_error(counts: ThresholdCounts) -> Array:
    """(...) bound of the AUROC's error, either way: Σ n_k p_k / 2PN."""
    pairs = counts.positives.sum(axis=-1) * counts.negatives.sum(axis=-1)
    return _ratio((counts.negatives * counts.positives).sum(axis=-1) / 2, pairs, np.nan)


def average_precision_error(counts: ThresholdCounts) -> Array:
    """(...) bound of the average precision's error, either way.

    Inside bin k, precision is at most TP_k/(TP_k + FP_{k−1}), its positives first, and at least
    TP_{k−1}/(TP_{k−1} + FP_k), its negatives first.
    """
    true, false = np.cumsum(counts.positives, axis=-1), np.cumsum(counts.negatives, axis=-1)
    precision = _ratio(true, true + false)
    best = _ratio(true, true + false - counts.negatives)
    before = true - counts.positives
    worst = _ratio(before, before + false)
    above = (counts.positives * (best - precision)).sum(axis=-1)
    below = (counts.positives * (precision - worst)).sum(axis=-1)
    return _ratio(np.maximum(above, below), counts.positives.sum(axis=-1), np.nan)


def f1_max_error(counts: ThresholdCounts) -> Array:
    """(...) bound by which binning lowers F1-max: in bin k, TP ≤ TP_k and FP ≥ FP_{k−1}."""
    true, false = np.cumsum(counts.positives, axis=-1), np.cumsum(counts.negatives, axis=-1)
    best = _ratio(2 * true, true[..., -1:] + true + false - counts.negatives)
    return np.asarray(best.max(axis=-1, initial=0.0) - f1_max(counts))


def aupro_error(counts: ThresholdCounts, limit: float = 0.3) -> Array:
    """(...) bound of the AUPRO's error, either way.

    Within a bin the true curve rises inside a box whose diagonal is the straight line. The error is
    at most half the box, or all of it if the limit cuts the box.
    """
    assert counts.overlap is not None
    negatives, regions = counts.negatives.sum(axis=-1), np.asarray(counts.regions, np.float64)
    width = _ratio(counts.negatives, negatives[..., None])
    rise = _ratio(counts.overlap, regions[..., None])
    start = np.cumsum(width, axis=-1) - width
    part = np.clip(_ratio(limit - start, width, 1.0), 0.0, 1.0)
    box = width * part * rise
    area = np.where(part < 1, box, box / 2).sum(axis=-1) / limit
    return np.where((regions == 0) | (negatives == 0), np.nan, area)


def _ratio(above: ArrayLike, below: ArrayLike, undefined: float = 0.0) -> Array:
    """Divide; the result is `undefined` if the divisor is 0."""
    over, under = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    result = np.full(over.shape, undefined)
    np.divide(over, under, out=result, where=under != 0)
    return result
