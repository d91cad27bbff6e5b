"""Distance of each patch's vision features from the other patches of its image. Beyond the paper.

A defect is a patch whose features in the vision encoder differ from most others of the image. This
evidence is independent of the response.
"""

import torch
from torch import Tensor

from ..real.anomaly_map import density, upsample


def feature_distance(features: Tensor) -> Tensor:
    """Return the squared Mahalanobis distance of each patch from the image's other patches.

    This is the RX detector (Reed and Yu 1990). The covariance is shrunk toward a multiple of the
    identity by oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero 2010).

    Args:
        features: (n, d) of the n patches of one image.

    Returns:
        (n,) float32, at least 0, with mean 1; 1 everywhere if all patches are alike.
    """
    # In mixed precision, autocast would round the covariance to bfloat16, which has no inverse.
    with torch.autocast(features.device.type, enabled=False):
        return _mahalanobis(features.float())


def _mahalanobis(features: Tensor) -> Tensor:
    count, width = features.shape
    centred = features - features.mean(dim=0)
    covariance = centred.T @ centred / count
    mean = covariance.diagonal().mean()
    if mean <= torch.finfo(torch.float32).tiny:
        return torch.ones(count, device=features.device)
    square = covariance.square().mean()
    shrinkage = ((square + mean**2) / ((count + 1) * (square - mean**2 / width))).clamp(0, 1)
    shrunk = (1 - shrinkage) * covariance
    shrunk.diagonal().add_(shrinkage * mean)
    # Unchecked: NaN is kept, and reported with the answer.
    precision = torch.cholesky_inverse(torch.linalg.cholesky_ex(shrunk).L)
    return density(((centred @ precision) * centred).sum(dim=1))


def multiply_by_distance(attention: Tensor, distance: Tensor | None) -> Tensor:
    """Multiply attention by the patches' feature distance.

    Args:
        attention: (grid_h, grid_w), at least 0.
        distance: (h, w) of the same image, on a grid that may be finer; None is 1 everywhere.

    Returns:
        (h, w) density, on the grid of the distance if there is one.
    """
    if distance is None:
        return density(attention)
    return density(upsample(attention, (distance.shape[0], distance.shape[1])) * distance)
