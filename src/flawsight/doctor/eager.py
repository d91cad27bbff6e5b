"""The reference: stock transformers' eager attention on one prompt, in the model's own weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..mllm.adapter import core
from ..mllm.capture import decoder_layers
from ..mllm.load import MLLM


@torch.inference_mode()
def eager_forward(
    mllm: MLLM, inputs: Mapping[str, Tensor], ids: Sequence[int], layers: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """Run a prompt that is followed by N tokens, without a cache.

    One layer's weights of all positions are held at a time.

    Args:
        mllm: its text layers run eager attention meanwhile.
        inputs: of one prompt, without padding.
        ids: of the N tokens.
        layers: language layers to average; none returns no rows.

    Returns:
        (N, vocabulary) float32 logits before each token, and (N, T) float32 attention of the
        positions before each, averaged over heads and layers.

    Raises:
        ModelError: if a layer does not return its weights.
    """
    model, count, shape = core(mllm.model), len(ids), inputs["input_ids"].shape
    added = torch.tensor([list(ids)], device=mllm.device)
    more = {"input_ids": added, "attention_mask": torch.ones_like(added)}
    whole = {
        # What tells text from image tokens has the prompt's shape, too, with 0 for text.
        name: torch.cat([value, more.get(name, torch.zeros_like(added)).to(value.dtype)], dim=1)
        if value.shape == shape
        else value
        for name, value in inputs.items()
    }
    rows: list[Tensor] = []

    def take(_module: Any, _inputs: Any, output: Any) -> Any:
        if output[1] is None:
            raise ModelError("transformers' eager attention returned no weights.")
        rows.append(output[1][0, :, -count - 1 : -1].float().mean(dim=0))
        return (output[0], None, *output[2:])

    attentions = decoder_layers(model)
    with mllm.lock:
        hooks = [attentions[layer].register_forward_hook(take) for layer in layers]
        model.set_attn_implementation({"text_config": "eager"})
        try:
            logits = model(**whole, use_cache=False, logits_to_keep=count + 1).logits
        finally:
            model.set_attn_implementation({"text_config": mllm.attention})
            for hook in hooks:
                hook.remove()
    return logits[0, -count - 1 : -1].float(), torch.stack(rows).mean(dim=0) if rows else added
