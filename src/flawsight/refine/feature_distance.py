"""How unlike the rest of its image each place is, by what the model's own vision encoder sees.

Attention tells where the words look, on a coarse grid and often beside the place. A defect is also
a place whose features differ from those of most others: the two are independent evidence.
"""

import torch
from torch import Tensor

from ..real.anomaly_map import density, upsample


def rarity(features: Tensor) -> Tensor:
    """Return the squared Mahalanobis distance of each place from the image's other places.

    This is the RX detector (Reed and Yu 1990), with the covariance shrunk toward a multiple of the
    identity as much as oracle approximating shrinkage says (Chen, Wiesel, Eldar and Hero 2010).

    Args:
        features: (n, d) of the n places of one image.

    Returns:
        (n,) float32, at least 0, with mean 1; 1 everywhere if all places are alike.
    """
    # In mixed precision, autocast would round the covariance to bfloat16, which has no inverse.
    with torch.autocast(features.device.type, enabled=False):
        return _rarity(features.float())


def _rarity(features: Tensor) -> Tensor:
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
    # Without a check: what is NaN stays so, and is told of where the answer is.
    precision = torch.cholesky_inverse(torch.linalg.cholesky_ex(shrunk).L)
    return density(((centred @ precision) * centred).sum(dim=1))


def weigh(attention: Tensor, rare: Tensor | None) -> Tensor:
    """Multiply attention by rarity: what is left is dense where both are.

    Args:
        attention: (grid_h, grid_w), at least 0.
        rare: (h, w) rarity of the same image, on a grid that may be finer, or None.

    Returns:
        (h, w) density; that of the attention alone, on its grid, where there is no rarity.
    """
    if rare is None:
        return density(attention)
    return density(upsample(attention, (rare.shape[0], rare.shape[1])) * rare)
