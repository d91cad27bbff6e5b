"""`texture`: a classical baseline without learning, for homogeneous surfaces.

The score of a pixel is the Mahalanobis distance of its local statistics from those of the image's
other pixels.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from ...errors import FlawsightError
from ...inspection import FloatArray
from ...io.images import read_photo
from ...settings import check_bit_depth
from .protocol import Prediction, about_bit_depth, each

# The scales (by average precision) and the score (by AUROC) were chosen on the validation families,
# LONG_SIDE was not (docs/results.md).
LONG_SIDE = 320
SCALES = (3.0, 6.0)
SHRINKAGE = 0.1
# pred_score is the difference of these quantiles of the map.
QUANTILES = (0.9, 0.999)
# The deviation, in robust standard deviations, that the map shows as one half.
HALF_BRIGHT = 6.0
_MAD_TO_STD = 1.4826
_TINY = 1e-3


class TextureDetector:
    """Scores images by their most deviating pixels, without verdicts."""

    batch_size = 1

    def __init__(self, name: str = "texture", bit_depth: int | None = None) -> None:
        check_bit_depth(bit_depth)
        self.name = name
        self._bit_depth = bit_depth

    def about(self) -> dict[str, Any]:
        """Return the fixed settings."""
        return {
            "detector": "texture",
            "long_side": LONG_SIDE,
            "scales": list(SCALES),
            "shrinkage": SHRINKAGE,
            "quantiles": list(QUANTILES),
            "half_bright": HALF_BRIGHT,
        } | about_bit_depth(self._bit_depth)

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Return for each image a pred_score and an anomaly_map in [0, 1], or the error."""
        return each(partial(_predict, bit_depth=self._bit_depth), images)


def _predict(path: Path, bit_depth: int | None) -> Prediction:
    start = time.perf_counter()
    photo = read_photo(path, bit_depth)
    image = photo.image
    deviation = deviation_map(image)
    small = deviation / (deviation + HALF_BRIGHT)
    resized = np.asarray(Image.fromarray(deviation).resize(image.size, Image.Resampling.BILINEAR))
    return Prediction(
        pred_score=float(np.diff(np.quantile(small, QUANTILES))[0]),
        anomaly_map=(resized / (resized + HALF_BRIGHT)).astype(np.float32),
        seconds=time.perf_counter() - start,
        details={"warnings": list(photo.warnings)},
    )


def deviation_map(image: Image.Image) -> FloatArray:
    """Return each pixel's distance from the others, ≥ 0, in robust standard deviations.

    The map has the image's aspect; its longer side is at most LONG_SIDE.
    """
    scale = min(1.0, LONG_SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BOX)
    values = np.stack([feature.ravel() for feature in _features(small)])
    centred = values - np.median(values, axis=1, keepdims=True)
    spread = np.median(np.abs(centred), axis=1, keepdims=True) * _MAD_TO_STD
    standard = centred / (spread + _TINY)
    # Clipping makes the covariance robust to outliers.
    clipped = np.clip(standard, -3, 3)
    covariance = clipped @ clipped.T / clipped.shape[1]
    count = len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(count)
    squared = (standard * np.linalg.solve(covariance, standard)).sum(axis=0)
    deviation = np.sqrt(squared.clip(0) / count)
    return np.asarray(deviation.reshape(height, width), dtype=np.float32)


def _features(image: Image.Image) -> list[FloatArray]:
    """Return per-pixel statistics at all scales: colour means, contrast, gradient, Laplacian."""
    rgb = np.asarray(image, dtype=np.float32) / 255
    grey = rgb.mean(axis=2)
    channels = [grey, rgb[:, :, 0] - grey, rgb[:, :, 2] - grey]
    gradient = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    laplacian = np.abs(ndimage.laplace(grey))
    features: list[FloatArray] = []
    for sigma in SCALES:
        means = [ndimage.gaussian_filter(channel, sigma) for channel in channels]
        variance = ndimage.gaussian_filter(grey * grey, sigma) - means[0] ** 2
        features += [*means, np.sqrt(variance.clip(0))]
        features += [ndimage.gaussian_filter(each, sigma) for each in (gradient, laplacian)]
    return features
