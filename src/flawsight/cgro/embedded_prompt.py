"""Encoded images → the embeddings that the language model takes."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from ..mllm.adapter import core
from .encoded_images import Prompts


@dataclass(frozen=True)
class Embedded:
    """N prompts or completions of T tokens, as the language model takes them.

    Attributes:
        embeds: (N, T, width), image features merged and in place.
        mask: (N, T) bool.
        positions: (3, N, T) rotary positions: time, height, width.
    """

    embeds: Tensor
    mask: Tensor
    positions: Tensor

    @property
    def next_position(self) -> Tensor:
        """(N,) of the token after a prompt, which ends in text: its three positions are equal."""
        return self.positions[0, :, -1] + 1


def embed_prompts(model: Any, prompts: Prompts) -> Embedded:
    """Run the merger, which trains, on the features and put the result at the image tokens."""
    base = core(model)
    visual = base.model.visual
    patches = prompts.features.view(-1, visual.config.hidden_size)
    image = visual.merger(patches)
    embeds = base.get_input_embeddings()(prompts.input_ids)
    is_image = prompts.input_ids == base.config.image_token_id
    embeds = embeds.masked_scatter(is_image[..., None], image.to(embeds.dtype))
    positions, _ = base.model.get_rope_index(
        prompts.input_ids,
        mm_token_type_ids=prompts.mm_token_type_ids,
        image_grid_thw=prompts.image_grid_thw,
        attention_mask=prompts.attention_mask,
    )
    return Embedded(embeds, prompts.attention_mask.bool(), positions)


def deepstack_inputs(model: Any, prompts: Prompts, more: int) -> dict[str, Any]:
    """Return what Qwen3-VL's language model adds at the image tokens; nothing for other models.

    Args:
        model: the transformers or PEFT model.
        prompts: with which the rows of its input begin.
        more: tokens of each row after its prompt.
    """
    if not len(prompts.deepstack):
        return {}
    is_image = prompts.input_ids == core(model).config.image_token_id
    return {
        "visual_pos_masks": pad(is_image, (0, more)),
        "deepstack_visual_embeds": list(prompts.deepstack),
    }
