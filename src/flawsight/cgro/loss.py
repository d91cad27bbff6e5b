"""GRPO's loss, from log-probabilities and advantages (arXiv 2402.03300). Pure tensor functions."""

from typing import Literal

import torch
from torch import Tensor

Normalization = Literal["grpo", "dr_grpo", "dapo"]


def token_losses(
    log_probs: Tensor,
    old_log_probs: Tensor,
    reference_log_probs: Tensor | None,
    advantages: Tensor,
    epsilon: float,
    kl_weight: float,
    unbiased_kl: bool = False,
) -> tuple[Tensor, Tensor]:
    """−min(ρ Â, clip(ρ, 1 ± ε) Â) + weight · KL of each token, ρ = π(token) / π_old(token).

    KL is the estimator k3 = exp(d) − d − 1 with d = log π_ref − log π, as in TRL.

    Args:
        log_probs: (N, L) of the policy, with their gradient.
        old_log_probs: (N, L) of the policy that sampled. With one update a roll-out they are
            `log_probs.detach()`: ρ is 1, but its gradient is not 0.
        reference_log_probs: (N, L) of the model before training; None leaves out the KL.
        advantages: (N,) of each candidate.
        epsilon: ε.
        kl_weight: of the KL.
        unbiased_kl: multiply the KL by ρ, so that its gradient is that of the reverse KL
            (arXiv 2512.02556, and TRL's default); False is GRPO as published.

    Returns:
        (N, L) loss, and (N, L) KL without a gradient, 0 where there is no reference.
    """
    ratio = (log_probs - old_log_probs).exp()
    weighed = advantages[:, None] * ratio
    clipped = advantages[:, None] * ratio.clamp(1 - epsilon, 1 + epsilon)
    losses = -torch.min(weighed, clipped)
    if reference_log_probs is None:
        return losses, torch.zeros_like(losses)
    difference = reference_log_probs - log_probs
    kl = difference.exp() - difference - 1
    return losses + kl_weight * (ratio * kl if unbiased_kl else kl), kl.detach()


def candidate_losses(losses: Tensor, mask: Tensor, normalization: Normalization) -> Tensor:
    """Sum the tokens' losses to what each candidate adds to a numerator; see `denominator`.

    Args:
        losses: (N, L).
        mask: (N, L) bool, True for tokens of the completion.
        normalization: "grpo" takes the mean of a candidate's tokens, so that each token of a long
            one counts less; "dr_grpo" and "dapo" their sum.

    Returns:
        (N,).
    """
    sums = torch.where(mask, losses, 0.0).sum(dim=1)
    return sums / mask.sum(dim=1).clamp(min=1) if normalization == "grpo" else sums


def denominator(
    normalization: Normalization, candidates: int, tokens: int, max_new_tokens: int
) -> float:
    """What the sum over all candidates of one update is divided by.

    "grpo": their number; "dr_grpo" (arXiv 2503.20783): a constant, their number times the longest
    completion allowed; "dapo" (arXiv 2503.14476): the number of their tokens.

    Args:
        normalization: see above.
        candidates: of the update, in all processes.
        tokens: of their completions.
        max_new_tokens: the longest completion allowed.
    """
    sizes = {"grpo": candidates, "dr_grpo": candidates * max_new_tokens, "dapo": tokens}
    return float(max(1, sizes[normalization]))
