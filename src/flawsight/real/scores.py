"""The two scores of a reasoning token: S_T, its attention to the anomaly words of the question, and
S_I, the concentration of its attention to the image (paper §3.1)."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

# Cells touch in 8 directions inside a token's map, and never from one token's map to the next.
_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
_NEIGHBOURS[1] = True


def semantic_relevance(question_attention: Tensor, anomaly_tokens: Tensor) -> Tensor:
    """Ŝ_T, cross-modal semantic relevance.

    S_T[r] = Σ_{q ∈ anomaly words} A[r, q], as in the paper. How the paper brings it into [0, 1] is
    not published; ours divides by Σ_{q ∈ question} A[r, q].

    Args:
        question_attention: (R, Q) attention of each reasoning token to the question's tokens.
        anomaly_tokens: (Q,) bool.

    Returns:
        (R,) in [0, 1]; 0 for a row without attention to the question.
    """
    relevance = question_attention[:, anomaly_tokens].sum(dim=1)
    scale = question_attention.sum(dim=1)
    return torch.where(scale > 0, relevance / scale, 0.0).clamp(0, 1)


def attention_concentration(image_attention: Tensor) -> Tensor:
    """Ŝ_I, intra-modal attention concentration, from the spatial entropy H of each map.

    B = relu(A − mean A); its 8-connected components with B > 0 hold shares p_i of B's mass;
    H = −Σ p_i ln p_i (as in LocalizationHeads, CVPR 2025, the closest published definition), and
    Ŝ_I = exp(−H) [ours].

    Args:
        image_attention: (R, grid_h, grid_w), at least 0.

    Returns:
        (R,) in [0, 1]: 1 for a single blob, 0 for a flat map.
    """
    if len(image_attention) == 0:
        return torch.zeros(0)
    maps = image_attention.double()
    peaks = (maps - maps.mean(dim=(1, 2), keepdim=True)).clamp(min=0).numpy()
    # What rounding leaves of a flat map is no peak.
    peaks[peaks < 1e-9 * maps.numpy().max(axis=(1, 2))[:, None, None]] = 0.0
    labels, count = ndimage.label(peaks > 0, structure=_NEIGHBOURS)
    masses = ndimage.sum_labels(peaks, labels, np.arange(1, count + 1))
    first_cells = np.unique(labels, return_index=True)[1][-count:] if count else np.empty(0, int)
    token_of = first_cells // peaks[0].size
    totals = np.bincount(token_of, weights=masses, minlength=len(peaks))
    shares = masses / totals[token_of]
    entropy = np.bincount(token_of, weights=-shares * np.log(shares), minlength=len(peaks))
    return torch.from_numpy(np.where(totals > 0, np.exp(-entropy), 0.0)).float().clamp(0, 1)
