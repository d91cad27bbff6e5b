"""Attention over a packed batch of images, one product for all sequences of one length."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

# The vision encoder passes a batch unsplit to implementations with "flash" in their name.
NAME = "flash_by_length"


def attend_by_length(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within the sequences of a packed batch.

    query, key, value: (1, heads, N, d); the output: (1, N, heads, d).
    """
    starts, lengths = cu_seq_lens_q[:-1], cu_seq_lens_q.diff()
    output = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
    for length in set(lengths.tolist()):
        rows = starts[lengths == length, None] + torch.arange(length)
        grouped = [x[0][:, rows].transpose(0, 1) for x in (query, key, value)]
        mixed = functional.scaled_dot_product_attention(
            grouped[0], grouped[1], grouped[2], scale=scaling
        )
        output[0, rows] = mixed.transpose(1, 2)
    return output, None


AttentionInterface.register(NAME, attend_by_length)
