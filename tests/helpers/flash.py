"""A stand-in for flash attention, which needs a GPU and its package."""

import torch
from torch import Tensor


def fake_flash(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Compute what flash attention does: causal from the lower right, a (B, T) padding mask."""
    assert attention_mask is None or attention_mask.ndim == 2
    queries, keys = query.shape[2], key.shape[2]
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)[None, None]
    if attention_mask is not None:
        seen = seen & attention_mask[:, None, None].bool()
        seen = seen | torch.eye(keys, dtype=torch.bool)[-queries:]  # rows of padding see themselves
    groups = module.num_key_value_groups
    output = torch.nn.functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(groups, dim=1),
        value.repeat_interleave(groups, dim=1),
        attn_mask=seen,
        scale=scaling,
    )
    return output.transpose(1, 2).contiguous(), None
