"""Hidden states → log-probabilities of tokens, without all logits at once."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Logits computed at once: 256 MiB in float32.
_MAX_LOGITS = 2**26


def token_log_probs(
    hidden: Tensor, ids: Tensor, head: Any, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log p(id) and the entropy of p = softmax(head(hidden) / temperature), in float32.

    If there are many logits, they are computed in chunks, and again in the backward pass.

    Args:
        hidden: (N, L, width).
        ids: (N, L).
        head: width → vocabulary.
        temperature: above 0.

    Returns:
        (N, L) with its gradient, and (N, L) without one.
    """

    def chunk(hidden: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        log_p = (head(hidden).float() / temperature).log_softmax(dim=-1)
        with torch.no_grad():
            entropy = -(log_p.exp() * log_p).sum(dim=-1)
        return log_p.gather(-1, ids[:, None])[:, 0], entropy

    flat, flat_ids = hidden.flatten(0, 1), ids.flatten()
    vocabulary = head.weight.shape[0]
    size = max(1, _MAX_LOGITS // vocabulary)
    if len(flat) <= size:
        log_probs, entropy = chunk(flat, flat_ids)
    else:
        chunks = [
            checkpoint(chunk, *pair, use_reentrant=False)
            for pair in zip(torch.split(flat, size), torch.split(flat_ids, size), strict=True)
        ]
        log_probs, entropy = (torch.cat(values) for values in zip(*chunks, strict=True))
    return log_probs.view(ids.shape), entropy.view(ids.shape)
