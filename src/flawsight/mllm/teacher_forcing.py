"""Prompts followed by given tokens, in one forward pass."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .adapter import core
from .load import MLLM


@torch.inference_mode()
def hidden_states(
    mllm: MLLM, inputs: Mapping[str, Tensor], responses: Sequence[Sequence[int]]
) -> Tensor:
    """Return the last hidden states of prompts that are followed by given tokens.

    Args:
        mllm: its lock is held.
        inputs: of B left-padded prompts, on the model's device.
        responses: B lists of at most R token ids.

    Returns:
        (B, R + 1, width): row i is before token i; row R is after the last.
    """
    rows = [torch.tensor(ids, dtype=torch.long, device=mllm.device) for ids in responses]
    padded = pad_sequence(
        rows, batch_first=True, padding_value=mllm.processor.tokenizer.pad_token_id
    )
    longest = padded.shape[1]
    seen = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    more = {"input_ids": padded, "attention_mask": seen}
    # What tells text from image tokens has the prompt's shape too, with 0 for text.
    shape = inputs["input_ids"].shape
    extended = {
        name: torch.cat([value, more.get(name, torch.zeros_like(padded)).to(value.dtype)], dim=1)
        if value.shape == shape
        else value
        for name, value in inputs.items()
    }
    states: Tensor = core(mllm.model).model(**extended, use_cache=False).last_hidden_state
    return states[:, -(longest + 1) :]
