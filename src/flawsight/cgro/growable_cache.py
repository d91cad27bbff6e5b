"""A key-value cache for sampling, in tensors that have room for more tokens."""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# Free tokens of a new tensor. More would take more memory, fewer would copy more often.
ROOM = 64


class GrowableLayer(DynamicLayer):  # type: ignore[misc]
    """A layer that copies its keys and values every `ROOM` tokens; its parent does at every token.

    For passes without a gradient only: it returns views of tensors, and later writes behind them.
    """

    keys: Tensor
    values: Tensor
    _stored: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Take (B, H_kv, new tokens, D) keys and values; return those of all tokens so far."""
        before = self.get_seq_length()
        if not before:
            self._stored = None
            super().update(key_states, value_states, *args, **kwargs)
            return self.keys, self.values
        length = before + key_states.shape[2]
        if self._stored is None or not self._fits(self._stored[0], length):
            self._stored = _with_room(self.keys, length), _with_room(self.values, length)
        for stored, new in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, before:length] = new
        self.keys, self.values = (stored[:, :, :length] for stored in self._stored)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some of the sequences and free the memory of the others."""
        super().batch_select_indices(indices)
        self._stored = None

    def _fits(self, stored: Tensor, length: int) -> bool:
        # Repeated sequences are new tensors without room.
        return stored.data_ptr() == self.keys.data_ptr() and length <= stored.shape[2]


def _with_room(held: Tensor, length: int) -> Tensor:
    """Copy (B, H_kv, tokens, D) to the start of a tensor for `length` + `ROOM` tokens."""
    stored = held.new_empty(*held.shape[:2], length + ROOM, held.shape[3])
    stored[:, :, : held.shape[2]] = held
    return stored


def growable_cache(text_config: Any) -> DynamicCache:
    """Return the cache of transformers, growable in the layers that keep all tokens."""
    cache = DynamicCache(config=text_config)
    cache.layers = [
        GrowableLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache
