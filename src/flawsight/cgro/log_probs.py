"""Hidden states → log-probabilities of tokens, without all logits at once."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Of logits computed at once: 256 MiB in float32.
_MAX_LOGITS = 2**26


def token_log_probs(
    hidden: Tensor, ids: Tensor, head: Any, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log p(id) and the entropy of p = softmax(head(hidden) / temperature), in float32.

    Where the vocabulary is large, the logits are computed in parts and again in the backward
    pass, never all of them at once.

    Args:
        hidden: (N, L, width).
        ids: (N, L).
        head: width → vocabulary.
        temperature: above 0.

    Returns:
        (N, L) with its gradient, and (N, L) without one.
    """

    def part(hidden: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        log_p = (head(hidden).float() / temperature).log_softmax(dim=-1)
        with torch.no_grad():
            entropy = -(log_p.exp() * log_p).sum(dim=-1)
        return log_p.gather(-1, ids[:, None])[:, 0], entropy

    flat, flat_ids = hidden.flatten(0, 1), ids.flatten()
    vocabulary = head.weight.shape[0]
    size = max(1, _MAX_LOGITS // vocabulary)
    if len(flat) <= size:
        log_probs, entropy = part(flat, flat_ids)
    else:
        parts = [
            checkpoint(part, some, those, use_reentrant=False)
            for some, those in zip(
                torch.split(flat, size), torch.split(flat_ids, size), strict=True
            )
        ]
        log_probs, entropy = (torch.cat(values) for values in zip(*parts, strict=True))
    return log_probs.view(ids.shape), entropy.view(ids.shape)
