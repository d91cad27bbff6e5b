"""Bootstrap over images: resampling weights, and the percentile interval of a metric."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def bootstrap_weights(labels: ArrayLike, resamples: int, seed: int) -> Array:
    """Return how often each image is drawn in each resample.

    The bootstrap is stratified: images are drawn with replacement within each label. No resample
    lacks a class, and the share of defects, on which average precision depends, is constant.

    Args:
        labels: (n,) of any type.
        resamples: B ≥ 1.
        seed: of the random generator.

    Returns:
        (B, n) whole numbers; over the images of a label, they sum to the number of images.
    """
    groups = np.asarray(labels)
    random = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(groups)))
    for label in np.unique(groups):
        chosen = np.flatnonzero(groups == label)
        even = np.full(len(chosen), 1 / len(chosen))
        weights[:, chosen] = random.multinomial(len(chosen), even, size=resamples)
    return weights


def interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval (low, high) that holds the middle `level` of (B,) values.

    NaN, from resamples in which the metric is undefined, is left out; (NaN, NaN) if all are NaN.
    """
    drawn = np.asarray(values, np.float64)
    drawn = drawn[~np.isnan(drawn)]
    if not drawn.size:
        return np.nan, np.nan
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
