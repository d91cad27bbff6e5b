"""Encoded images → the embeddings that the language model takes."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .encoded_images import Prompts
from .policy import core


@dataclass(frozen=True)
class Prefix:
    """Embedded prompts, as the language model takes them.

    Attributes:
        embeds: (B, P, width), image features merged and in place.
        mask: (B, P) bool.
        positions: (3, B, P) rotary positions: time, height, width.
        next_position: (B,) of the first token after the prompt.
    """

    embeds: Tensor
    mask: Tensor
    positions: Tensor
    next_position: Tensor


def embed_prompts(model: Any, prompts: Prompts) -> Prefix:
    """Run the merger, which trains, on the features and put the result at the image tokens."""
    base = core(model)
    visual = base.model.visual
    patches = prompts.features.view(-1, visual.config.hidden_size)
    image = visual.merger(patches)
    embeds = base.get_input_embeddings()(prompts.input_ids)
    is_image = (prompts.input_ids == base.config.image_token_id)[..., None]
    embeds = embeds.masked_scatter(is_image, image.to(embeds.dtype))
    positions, _ = base.model.get_rope_index(
        prompts.input_ids,
        mm_token_type_ids=prompts.mm_token_type_ids,
        image_grid_thw=prompts.image_grid_thw,
        attention_mask=prompts.attention_mask,
    )
    # The prompt ends in text, whose three positions are equal.
    return Prefix(embeds, prompts.attention_mask.bool(), positions, positions[0, :, -1] + 1)
