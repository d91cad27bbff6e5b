"""Images and the question → the model's input, and the positions of both in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ..prompt import anomaly_word_spans, user_message
from ..settings import Settings
from .load import MLLM


@dataclass(frozen=True)
class PromptBatch:
    """Encoded prompts of B images, left-padded to T tokens.

    Attributes:
        inputs: of the model, on its device.
        columns: (B, C) positions of the image tokens and then of the question's tokens, in order;
            short rows are filled up with position 0.
        grids: B (grid_h, grid_w) of image tokens.
        anomaly_tokens: (Q,) bool, which tokens of the question are its anomaly words.
    """

    inputs: dict[str, Tensor]
    columns: Tensor
    grids: list[tuple[int, int]]
    anomaly_tokens: Tensor


def encode_prompts(mllm: MLLM, images: Sequence[Image], settings: Settings) -> PromptBatch:
    """Encode question and images, and find the positions of their tokens."""
    processor = mllm.processor
    text = processor.apply_chat_template(
        user_message(settings.question), tokenize=False, add_generation_prompt=True
    )
    area = image_area(processor, settings)
    scaled = {} if area is None else {"size": {"shortest_edge": area, "longest_edge": area}}
    with mllm.tokenizing:
        batch = processor(
            images=[on_grid(processor, image, settings) for image in images],
            text=[text] * len(images),
            padding=True,
            padding_side="left",
            return_tensors="pt",
            return_offsets_mapping=True,
            **scaled,
        )
    offsets = batch.pop("offset_mapping")
    # Characters are counted from the end: the image's placeholder, which grows, comes before the
    # question, and only the instruction and the end of the template come after it.
    start = text.rindex(settings.question) - len(text)
    stop = start + len(settings.question)
    from_end = offsets - offsets[:, -1:, 1:]
    in_question = (from_end[..., 1] > start) & (from_end[..., 0] < stop)
    in_question &= batch["attention_mask"].bool()
    is_image = batch["input_ids"] == mllm.model.config.image_token_id
    wanted = [
        torch.cat([image.nonzero()[:, 0], question.nonzero()[:, 0]])
        for image, question in zip(is_image, in_question, strict=True)
    ]
    columns = torch.nn.utils.rnn.pad_sequence(wanted, batch_first=True)
    question = from_end[0][in_question[0]] - start
    anomaly = torch.zeros(len(question), dtype=torch.bool)
    for word_start, word_end in anomaly_word_spans(settings.question):
        anomaly |= (question[:, 1] > word_start) & (question[:, 0] < word_end)
    merge = processor.image_processor.merge_size
    grids = [(h // merge, w // merge) for _, h, w in batch["image_grid_thw"].tolist()]
    inputs = {name: value.to(mllm.device) for name, value in batch.items()}
    inputs["pixel_values"] = inputs["pixel_values"].to(mllm.model.dtype)
    return PromptBatch(inputs, columns.to(mllm.device), grids, anomaly)


def token_side(processor: Any) -> int:
    """Return the height and width of an image token in pixels."""
    side: int = processor.image_processor.patch_size * processor.image_processor.merge_size
    return side


def image_area(processor: Any, settings: Settings) -> int | None:
    """Return the pixels that an image is scaled to; None if the checkpoint prescribes it."""
    tokens = settings.tokens_per_image
    return None if tokens is None else tokens * token_side(processor) ** 2


def on_grid(processor: Any, image: Image, settings: Settings) -> Image:
    """Return an image at the exact size of `image_grid`, which scaling to its area then keeps."""
    if settings.image_grid is None:
        return image
    height, width = (cells * token_side(processor) for cells in settings.image_grid)
    return image.resize((width, height), processor.image_processor.resample)
