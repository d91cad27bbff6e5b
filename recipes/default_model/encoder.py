"""The vision encoder: a fast forward pass on square images, its initialisation and its growth.

The forward pass computes what transformers' Qwen2.5-VL vision encoder computes, on the same modules
(a test compares the two). Stock transformers multiplies window by window and image by image, which
takes half of the time at this size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

_WRITERS = ("patch_embed.proj", "attn.proj", "down_proj", "merger.mlp.2")
_OFFSETS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))


def encode_images(visual: Any, images: Tensor, pairs: bool = False) -> Tensor:
    """Return the image tokens of square images, in reading order.

    Args:
        visual: `Qwen2_5_VisionTransformerPretrainedModel` that attends within windows only.
        images: (B, 3, S, S), normalised as by the processor; S is a multiple of the window size.
        pairs: the images are pairs in turn; a window that both share is computed once.

    Returns:
        (B, tokens, width of the language model).
    """
    config = visual.config
    window, across = config.window_size, images.shape[-1] // config.window_size
    windows = images.reshape(-1, 3, across, window, across, window)
    windows = windows.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    if pairs:
        own, source = _distinct(windows.view(-1, 2, across**2, 3, window, window))
        tokens = encode_windows(visual, windows[own])[source]
    else:
        tokens = encode_windows(visual, windows)
    cells = window // config.patch_size // config.spatial_merge_size
    tokens = tokens.view(len(images), across, across, cells, cells, -1)
    return tokens.transpose(2, 3).reshape(len(images), (across * cells) ** 2, -1)


def encode_windows(visual: Any, windows: Tensor) -> Tensor:
    """Return the image tokens of (N, 3, W, W) windows, in reading order: (N, tokens, width).

    Rotary embedding depends on differences of position only, so each window counts from 0.
    """
    config = visual.config
    side, merge = config.window_size // config.patch_size, config.spatial_merge_size
    order = _cell_order(side, merge)
    # Both frames of the temporal patch hold the same image.
    kernel = visual.patch_embed.proj.weight.sum(2)
    hidden = functional.conv2d(windows, kernel, stride=config.patch_size).flatten(2).transpose(1, 2)
    hidden = hidden[:, order]
    angles = _angles(side, config.hidden_size // config.num_heads)[order]
    cosine, sine = angles.cos(), angles.sin()
    for block in visual.blocks:
        hidden = hidden + _attend(block, hidden, cosine, sine)
        normed = _norm(block.norm2, hidden)
        gated = functional.silu(block.mlp.gate_proj(normed)) * block.mlp.up_proj(normed)
        hidden = hidden + block.mlp.down_proj(gated)
    merger = visual.merger
    cells = _norm(merger.ln_q, hidden).reshape(len(windows), -1, merge**2 * config.hidden_size)
    tokens: Tensor = merger.mlp(cells)
    return tokens


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
    """Attend within the sequences of a packed batch; one product for all sequences of one length.

    The vision encoder passes its windows unsplit to implementations with "flash" in their name.
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


def initialize_attention(visual: Any, strength: float = 2.0) -> None:
    """Let each head attend to one neighbour of its patch at initialisation.

    The biases of queries and keys are set; their product after rotary embedding peaks at a fixed
    offset, like a tap of a convolution. The weights are scaled down. After structured
    initialisation of vision transformers (Zheng et al., 2024).
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


def grow(small: Any, large: Any) -> None:
    """Give a wider and deeper vision encoder the function of a smaller one, after Net2Net.

    Both have the same output width; `large` has k times as wide or as many heads. New features,
    units and heads keep their input weights from `large` and have output weights of 0. A new layer
    is the identity.
    """
    old, cell = dict(small.named_parameters()), small.config.spatial_merge_size**2
    heads, more_heads = small.config.num_heads, large.config.num_heads
    for name, new in large.named_parameters():
        layer = name.rsplit(".", 1)[0]
        if layer.endswith(_WRITERS):
            nn.init.zeros_(new)
        if name not in old:
            continue
        shape, more = (1, len(old[name]), 1, -1), (1, len(new), 1, -1)
        if "qkv" in layer:
            shape, more = (3, heads, -1, old[name][0].numel()), (3, more_heads, -1, new[0].numel())
        elif name.endswith("attn.proj.weight"):
            shape, more = (1, len(old[name]), heads, -1), (1, len(new), more_heads, -1)
        elif name.endswith("mlp.0.weight"):
            shape, more = (1, len(old[name]), cell, -1), (1, len(new), cell, -1)
        source, target = old[name].detach().view(shape), new.detach().view(more)
        if "norm" in layer or "ln_q" in layer:
            # The mean square is over more features, the new ones 0.
            source = source * (len(old[name]) / len(new)) ** 0.5
        a, b, c, d = source.shape
        if "qkv" in layer:
            # A head of k times the size has the frequencies of the small one at every k-th index.
            k = target.shape[2] // c
            target[1, :b] = 0
            target[:, :b, ::k, :d] = source * torch.tensor([k**0.5, 1, 1]).view(3, 1, 1, 1)
        elif name.endswith("attn.proj.weight"):
            target[:, :b, :c, :: target.shape[3] // d] = source
        else:
            target[:a, :b, :c, :d] = source


def _distinct(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of distinct windows, and for each window its index among those.

    windows: (pairs, 2, windows per image, 3, W, W). The indices are of the flattened windows.
    """
    pairs, _, count = windows.shape[:3]
    same = (windows[:, 0] == windows[:, 1]).flatten(2).all(2)
    index = torch.arange(pairs * 2 * count).view(pairs, 2, count)
    index[:, 1] = torch.where(same, index[:, 0], index[:, 1])
    own, source = torch.unique(index, return_inverse=True)
    return own, source.flatten()


def _attend(block: Any, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    windows, patches, width = hidden.shape
    heads = block.attn.num_heads
    qkv = block.attn.qkv(_norm(block.norm1, hidden))
    qkv = qkv.view(windows, patches, 3 * heads, width // heads).transpose(1, 2)
    query, key = _rotate(qkv[:, : 2 * heads], cosine.to(qkv.dtype), sine.to(qkv.dtype)).chunk(2, 1)
    # Plain products: for short groups they beat the fused kernel.
    scores = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
    mixed = scores.softmax(-1).to(qkv.dtype) @ qkv[:, 2 * heads :]
    output: Tensor = block.attn.proj(mixed.transpose(1, 2).reshape(windows, patches, width))
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
    position = torch.arange(side**2)
    rows, columns = (
        axis[:, None] * _frequencies(head_size) for axis in (position // side, position % side)
    )
    return torch.cat([rows, columns], dim=1).repeat(1, 2)


def _cell_order(side: int, merge: int) -> Tensor:
    """Return (side²,) the order of patches in which those of one merged token are adjacent."""
    cells = torch.arange(side**2).view(side // merge, merge, side // merge, merge)
    return cells.transpose(1, 2).reshape(-1)
