"""Attention rows under SDPA or flash attention, without the T×T matrix.

The model's attention function is wrapped in transformers' public registry under its own name, so
masks, caches and kernels do not change. While a capture is open, the float32 softmax rows of the
last queries are computed in addition, and averaged over heads at the wanted columns. Memory grows
with rows × keys. During generation a step only stores its query; the rows of many steps are one
product with the cache, which holds their keys.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, DynamicCache

from ..errors import ModelError, SettingsError

_open_capture: ContextVar["AttentionCapture | None"] = ContextVar("open_capture", default=None)

# Steps per product. More would take more memory and save little time.
STEPS_AT_ONCE = 32

# Scores computed at once: few fit into a CPU's cache, many keep a GPU busy (128 MiB).
MOST_SCORES = {"cpu": 2**19, "gpu": 2**25}


@dataclass
class _Waiting:
    """Decoding steps of one layer whose rows are not computed yet.

    Attributes:
        queries: each (B, H, 1, D).
        masks: the attention mask of each.
        counts: the number of keys at each.
        key: (B, H_kv, T, D) of the last step, which holds the keys of all.
        scaling: of the layer.
    """

    queries: list[Tensor] = field(default_factory=list)
    masks: list[Tensor | None] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    key: Tensor = field(init=False)
    scaling: float = field(init=False)

    def mask(self) -> Tensor:
        """Return (B or 1, 1, R, T) bool, the keys that each of the R steps attends to."""
        batch, keys = self.key.shape[0], self.key.shape[2]
        if all(mask is None for mask in self.masks):
            counts = torch.tensor(self.counts, device=self.key.device)
            return (torch.arange(keys, device=self.key.device) < counts[:, None])[None, None]
        seen = [
            self.key.new_ones(batch, count, dtype=torch.bool)
            if mask is None
            else mask[:, :count].bool().expand(batch, -1)
            for mask, count in zip(self.masks, self.counts, strict=True)
        ]
        # Steps × keys × sequences: a step does not attend to later keys.
        stacked = pad_sequence([each.T for each in seen], batch_first=True, padding_value=False)
        return stacked.permute(2, 0, 1)[:, None]


class AttentionCapture:
    """Rows gathered while a model runs inside `capture_attention`.

    Args:
        columns: (B, C) key positions wanted of each sequence, in the padded sequence.
        layers: indices of the language layers whose heads are averaged, from `chosen_layers`.
        last_rows: number of last queries of each forward pass to capture; a decoding step has 1.
    """

    def __init__(self, columns: Tensor, layers: Sequence[int], last_rows: int = 1) -> None:
        self.columns, self.layers, self.last_rows = columns, tuple(layers), last_rows
        self.layer_of: dict[nn.Module, int] = {}
        self._last_layer = max(layers)
        self._waiting: dict[int, _Waiting] = {}
        self._done: list[Tensor] = []
        self._sum: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        """(B, rows, C) float32: the attention of each captured query, in order, to the columns."""
        self._compute_waiting()
        if not self._done:
            raise ModelError("No attention was seen: the model runs another implementation.")
        return torch.cat(self._done, dim=1)

    def observe(
        self, module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float
    ) -> None:
        """Record one layer of the current forward pass."""
        layer = self.layer_of.get(module)
        if layer not in self.layers:
            return
        if self.last_rows > 1 or (mask is not None and mask.is_floating_point()):
            self._add(layer, query, key, mask, scaling, self.last_rows)
            return
        waiting = self._waiting.setdefault(layer, _Waiting())
        # A view would hold the queries of the whole prompt.
        waiting.queries.append(query if query.shape[2] == 1 else query[:, :, -1:].clone())
        waiting.masks.append(mask if mask is None or mask.ndim == 2 else mask[:, 0, -1])
        waiting.counts.append(key.shape[2])
        waiting.key, waiting.scaling = key, scaling
        if layer == self._last_layer and len(waiting.queries) >= STEPS_AT_ONCE:
            self._compute_waiting()

    def _compute_waiting(self) -> None:
        for layer, waiting in sorted(self._waiting.items()):
            query = torch.cat(waiting.queries, dim=2)
            rows = query.shape[2]
            self._add(layer, query, waiting.key, waiting.mask(), waiting.scaling, rows)
        self._waiting.clear()

    def _add(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        scaling: float,
        last_rows: int,
    ) -> None:
        """Add one layer to the sum over layers."""
        # In mixed precision, autocast would round them to bfloat16, where cells become equal.
        with torch.autocast(query.device.type, enabled=False):
            rows = attention_rows(query, key, mask, scaling, self.columns, last_rows)
            heads = rows.shape[1]
            weights = rows.new_full((heads,), 1 / (len(self.layers) * heads))
            mean = torch.einsum("bhrc,h->brc", rows, weights)
        self._sum = mean if self._sum is None else self._sum + mean
        if layer == self._last_layer:
            self._done.append(self._sum)
            self._sum = None


@torch.no_grad()
def attention_rows(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    scaling: float,
    columns: Tensor,
    last_rows: int,
) -> Tensor:
    """Softmax(q kᵀ · scaling) of the last `last_rows` queries at `columns`, in float32.

    Args:
        query: (B, H, Q, D) after rotary embedding.
        key: (B, H_kv, T, D); H is a multiple of H_kv.
        mask: of the attention function: None (causal), boolean (B, 1, Q, T) with True for keys
            attended to, the same as additive floats, or flash attention's (B, T) padding mask.
        columns: (B, C) positions below T.

    Returns:
        (B, H, rows, C).
    """
    batch, heads, queries, depth = query.shape
    key_heads, keys = key.shape[1], key.shape[2]
    rows = min(last_rows, queries)
    query = query[:, :, -rows:]
    added = _added(mask, queries, rows, key).expand(batch, -1, -1, -1)
    wanted = columns[:, None, None, :].expand(-1, heads, rows, -1)
    attention = torch.empty(wanted.shape, device=key.device)
    most = MOST_SCORES["cpu" if key.device.type == "cpu" else "gpu"]
    size = max(1, most // (heads * rows * keys))
    for start in range(0, batch, size):
        part = slice(start, start + size)
        grouped = query[part].float().reshape(-1, key_heads, rows * heads // key_heads, depth)
        scores = (grouped * scaling) @ key[part].float().transpose(-1, -2)
        scores = scores.view(-1, heads, rows, keys).add_(added[part])
        attention[part] = scores.softmax(dim=-1).gather(3, wanted[part])
    return attention


def _added(mask: Tensor | None, queries: int, rows: int, key: Tensor) -> Tensor:
    """Return the additive mask, (B or 1, 1, rows or 1, T): 0 for keys attended to."""
    keys, lowest = key.shape[2], torch.finfo(torch.float32).min
    if mask is not None and mask.ndim == 4:
        mask = mask[..., -rows:, :]
        if mask.is_floating_point():
            return mask
        return torch.zeros(mask.shape, device=key.device).masked_fill(~mask, lowest)
    added = torch.zeros(1, 1, rows, keys, device=key.device)
    if queries > 1:
        ahead = torch.ones(rows, keys, dtype=torch.bool, device=key.device).triu(keys - rows + 1)
        added = added.masked_fill(ahead, -torch.inf)
    if mask is not None:
        added = added.masked_fill(~mask[:, None, None, :keys].bool(), lowest)
    return added


def _wrap(name: str) -> None:
    """Wrap the attention function registered as `name`, once."""
    registry = AttentionInterface()
    attention = registry[name]
    if getattr(attention, "observed_by_flawsight", False):
        return

    def observed(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> Any:
        capture = _open_capture.get()
        if capture is not None:
            scaling = kwargs.get("scaling")
            scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
            seen = key
            if attention_mask is None and query.shape[2] > 1 and "flash" not in name:
                # SDPA without a mask aligns to the upper left: the rest of a static cache is empty.
                seen = key[:, :, : query.shape[2]]
            capture.observe(module, query, seen, attention_mask, scaling)
        return attention(module, query, key, value, attention_mask, **kwargs)

    observed.observed_by_flawsight = True  # type: ignore[attr-defined]
    registry.register(name, observed)


def decoder_layers(model: Any) -> list[nn.Module]:
    """Return the attention modules of the language layers in order.

    In transformers, the attention modules of every decoder with a cache have a `layer_idx`. Layers
    of linear attention, which have no rows, are left out.
    """
    found: dict[int, nn.Module] = {}
    for module in model.get_decoder().modules():
        layer = getattr(module, "layer_idx", None)
        if isinstance(layer, int) and hasattr(module, "num_key_value_groups"):
            found[layer] = module
    return [found[layer] for layer in sorted(found)]


def whole_cache(model: Any) -> dict[str, Any]:
    """Return the option of `generate` that keeps the keys of all tokens, of which rows are made.

    Layers with a sliding window would drop the keys that have left it. Their mask hides these.
    """
    kinds = getattr(model.get_decoder().config, "layer_types", None) or ()
    return {"past_key_values": DynamicCache()} if "sliding_attention" in kinds else {}


def chosen_layers(model: nn.Module, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Return the sorted indices of the language layers to average; None chooses all.

    Raises:
        SettingsError: for a layer the model does not have, or if none is chosen.
    """
    count = len(decoder_layers(model))
    wanted = range(count) if layers is None else layers
    chosen = {layer + count if layer < 0 else layer for layer in wanted}
    for layer in chosen:
        if not 0 <= layer < count:
            raise SettingsError(
                f"There is no layer {layer}: the model has {count} layers, counted from 0."
            )
    if not chosen:
        raise SettingsError("No layer is left to average; choose at least one.")
    return tuple(sorted(chosen))


@contextmanager
def capture_attention(
    model: nn.Module, capture: AttentionCapture, attention: str = "sdpa"
) -> Iterator[AttentionCapture]:
    """Fill `capture` with every forward pass of `model` made inside the block, in this thread.

    `attention` is the implementation the model was loaded with, e.g. "flash_attention_2".

    Raises:
        SettingsError: for flash attention in a sliding window, which it does not tell as a mask.
    """
    if "flash" in attention and whole_cache(model):
        raise SettingsError(
            f"The attention of a model with a sliding window cannot be read from {attention}; load "
            "it with sdpa (--attention sdpa)."
        )
    _wrap(attention)
    attentions = decoder_layers(model)
    capture.layer_of = {module: index for index, module in enumerate(attentions)}
    token = _open_capture.set(capture)
    try:
        yield capture
    finally:
        _open_capture.reset(token)
