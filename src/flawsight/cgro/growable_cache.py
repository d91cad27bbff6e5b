"""Keys and values of sequences that are being written, in tensors that have room for more."""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# Tokens that a layer has room for beyond those it was first given. More would hold more memory.
ROOM = 64


class GrowableLayer(DynamicLayer):  # type: ignore[misc]
    """A layer that copies what it holds every `ROOM` tokens, where its parent does at every token.

    It is for running without a gradient: what it returns are views of tensors that it goes on
    writing to, behind what was returned.
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
        """Keep some of the sequences, and nothing that holds the others."""
        super().batch_select_indices(indices)
        self._stored = None

    def _fits(self, stored: Tensor, length: int) -> bool:
        # Sequences that were repeated are tensors of their own.
        return stored.data_ptr() == self.keys.data_ptr() and length <= stored.shape[2]


def _with_room(held: Tensor, length: int) -> Tensor:
    """Copy (B, H_kv, tokens, D) to the beginning of a tensor with room for more than `length`."""
    stored = held.new_empty(*held.shape[:2], length + ROOM, held.shape[3])
    stored[:, :, : held.shape[2]] = held
    return stored


def growable_cache(text_config: Any) -> DynamicCache:
    """Return the cache that transformers would make, with room in the layers that keep all."""
    cache = DynamicCache(config=text_config)
    cache.layers = [
        GrowableLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache
