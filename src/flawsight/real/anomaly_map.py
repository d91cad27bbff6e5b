"""The selected tokens' attention → one map → the image's pixels."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

# Attention this many times the image's mean shows as 0.5. It sets the one scale of all maps.
HALF = 4.0


def aggregate(image_attention: Tensor, selected: Tensor, weights: Tensor) -> Tensor:
    """A_RDAM = Σ w_r A[r, I] / Σ w_r over the selected tokens (paper §3.1).

    Args:
        image_attention: (R, grid_h, grid_w).
        selected: (R,) bool.
        weights: (R,), at least 0. If all selected ones are 0, they count alike.

    Returns:
        (grid_h, grid_w); 0 everywhere if no token is selected.
    """
    if not selected.any():
        return torch.zeros(image_attention.shape[1:])
    chosen = weights[selected]
    if chosen.sum() <= 0:
        chosen = torch.ones_like(chosen)
    return torch.einsum("r,rhw->hw", chosen / chosen.sum(), image_attention[selected])


def density(attention: Tensor) -> Tensor:
    """Return d = A / mean(A) of a (grid_h, grid_w) map; a flat map has density 1 on any grid."""
    return attention / attention.mean().clamp(min=torch.finfo(attention.dtype).tiny)


def to_fixed_scale(attention: Tensor) -> Tensor:
    """Bring attention into [0, 1] on a scale that is the same for every image [ours].

    d / (d + 4) keeps the order of the density d.

    Args:
        attention: (grid_h, grid_w), at least 0.

    Returns:
        (grid_h, grid_w) in [0, 1).
    """
    dense = density(attention)
    return dense / (dense + HALF)


def upsample(grid: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation of a (grid_h, grid_w) map to (height, width) pixels.

    Cells are areas, not points: the grid covers the image exactly (`align_corners=False`).
    """
    return interpolate(grid[None, None], image_size, mode="bilinear", align_corners=False)[0, 0]
