"""The vision tower run fast on square images, and where its heads look before training.

The computation is that of transformers' Qwen2.5-VL tower, on its own modules (a test compares the
two); stock transformers runs every window and every image in a product of its own, which costs half
of the time at this size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

_OFFSETS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))


def see(visual: Any, images: Tensor) -> Tensor:
    """Return the image tokens of square images, in reading order.

    Args:
        visual: `Qwen2_5_VisionTransformerPretrainedModel`.
        images: (B, 3, S, S), normalised as the processor does; a whole number of windows a side.

    Returns:
        (B, tokens, width of the language model).
    """
    config = visual.config
    side, merge = images.shape[-1] // config.patch_size, config.spatial_merge_size
    window = config.window_size // config.patch_size
    order = _window_order(side, window, merge)
    # Both frames of the temporal patch hold the same image.
    kernel = visual.patch_embed.proj.weight.sum(2)
    hidden = functional.conv2d(images, kernel, stride=config.patch_size).flatten(2).transpose(1, 2)
    hidden = hidden[:, order]
    angles = _angles(side, config.hidden_size // config.num_heads)[order]
    cosine, sine = angles.cos(), angles.sin()
    for block in visual.blocks:
        hidden = hidden + _attend(block, hidden, cosine, sine, window**2)
        normed = _norm(block.norm2, hidden)
        gated = functional.silu(block.mlp.gate_proj(normed)) * block.mlp.up_proj(normed)
        hidden = hidden + block.mlp.down_proj(gated)
    merger = visual.merger
    cells = _norm(merger.ln_q, hidden).reshape(len(images), -1, merge**2 * config.hidden_size)
    tokens: Tensor = merger.mlp(cells)
    first = order[:: merge**2]
    return tokens[
        :, torch.argsort(first // side // merge * (side // merge) + first % side // merge)
    ]


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
    """Attend within the sequences of a packed batch, all those of one length in one product.

    Registered under a name with "flash" in it, the tower hands its windows over unsplit.
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


AttentionInterface.register("flash_by_length", attend_by_length)


def look_around(visual: Any, strength: float = 2.0) -> None:
    """Let each head of the tower begin by looking at one neighbour of its patch.

    Queries and keys get constant parts (biases), whose product after rotary embedding peaks at a
    fixed offset, as a convolution's taps do; what depends on the image begins small. In the manner
    of structured initialisation of vision transformers (Zheng et al., 2024).
    """
    heads = visual.config.num_heads
    for block in visual.blocks:
        qkv = block.attn.qkv
        head_size = qkv.in_features // heads
        frequencies = _frequencies(head_size)
        half = head_size // 2
        with torch.no_grad():
            qkv.weight.view(3, -1, qkv.in_features)[:2].mul_(0.3)
            bias = qkv.bias.zero_().view(3, heads, head_size)
            for head in range(heads):
                down, right = _OFFSETS[head % len(_OFFSETS)]
                phase = torch.cat([frequencies * down, frequencies * right])
                bias[0, head, :half], bias[0, head, half:] = phase.cos(), phase.sin()
                bias[1, head, :half] = 1.0
            bias[:2] *= strength


def _attend(block: Any, hidden: Tensor, cosine: Tensor, sine: Tensor, group: int) -> Tensor:
    """Attend within groups of consecutive patches."""
    images, patches, width = hidden.shape
    heads = block.attn.num_heads
    qkv = block.attn.qkv(_norm(block.norm1, hidden))
    qkv = qkv.view(images, -1, group, 3 * heads, width // heads).transpose(2, 3)
    cosine, sine = (x.view(-1, 1, group, x.shape[-1]).to(qkv.dtype) for x in (cosine, sine))
    query, key = _rotate(qkv[:, :, : 2 * heads], cosine, sine).chunk(2, dim=2)
    # Plain products: for short groups they beat the fused kernel.
    scores = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
    mixed = scores.softmax(-1).to(qkv.dtype) @ qkv[:, :, 2 * heads :]
    output: Tensor = block.attn.proj(mixed.transpose(2, 3).reshape(images, patches, width))
    return output


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


def _norm(norm: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.variance_epsilon)


def _frequencies(head_size: int) -> Tensor:
    quarter = head_size // 4
    return 10000.0 ** (-torch.arange(quarter) / quarter)


def _angles(side: int, head_size: int) -> Tensor:
    """Return (side², head_size), the angles of the rotary embedding by row and column."""
    place = torch.arange(side**2)
    rows, columns = (
        axis[:, None] * _frequencies(head_size) for axis in (place // side, place % side)
    )
    return torch.cat([rows, columns], dim=1).repeat(1, 2)


def _window_order(side: int, window: int, merge: int) -> Tensor:
    """Return (side²,) the patches window by window, in each those of one merged token together."""
    grid = torch.arange(side**2).view(
        side // window, window // merge, merge, side // window, window // merge, merge
    )
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1)
