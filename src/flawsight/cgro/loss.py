"""GRPO's loss, from log-probabilities and advantages (arXiv 2402.03300). Pure tensor functions."""

import torch
from torch import Tensor

# ε, as in TRL. With one update per roll-out the ratio is 1 and never clipped.
EPSILON = 0.2


def token_losses(
    log_probs: Tensor,
    old_log_probs: Tensor,
    reference_log_probs: Tensor | None,
    advantages: Tensor,
    kl_weight: float,
    epsilon: float = EPSILON,
) -> tuple[Tensor, Tensor]:
    """−min(ρ Â, clip(ρ, 1 ± ε) Â) + weight · KL of each token, ρ = π(token) / π_old(token).

    KL is the estimator k3 = exp(d) − d − 1 with d = log π_ref − log π, as in TRL.

    Args:
        log_probs: (N, L) of the policy, with their gradient.
        old_log_probs: (N, L) of the policy that sampled. With one update per roll-out they are
            `log_probs.detach()`: ρ is 1, but its gradient is not 0.
        reference_log_probs: (N, L) of the model before training; None leaves out the KL.
        advantages: (N,) of each candidate.
        kl_weight: of the KL.
        epsilon: ε.

    Returns:
        (N, L) loss, and (N, L) KL without a gradient, 0 without a reference.
    """
    ratio = (log_probs - old_log_probs).exp()
    weighted = advantages[:, None] * ratio
    clipped = advantages[:, None] * ratio.clamp(1 - epsilon, 1 + epsilon)
    losses = -torch.min(weighted, clipped)
    if reference_log_probs is None:
        return losses, torch.zeros_like(losses)
    difference = reference_log_probs - log_probs
    kl = difference.exp() - difference - 1
    return losses + kl_weight * kl, kl.detach()


def candidate_means(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over each candidate's tokens; the loss is the mean of these means.

    Args:
        values: (N, L).
        mask: (N, L) bool, True for tokens of the completion; values at padding may be NaN.

    Returns:
        (N,).
    """
    return torch.where(mask, values, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
