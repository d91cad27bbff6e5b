"""Images and the question → the model's input, and the positions of both in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ..errors import ModelError
from ..prompt import QUESTION, anomaly_word_spans, user_message
from ..settings import Settings
from .load import MLLM
from .prompt_photos import check_prompt_photos
from .token_grid import TokenGrid


@dataclass(frozen=True)
class PromptBatch:
    """Encoded prompts of B images, left-padded to T tokens.

    Attributes:
        inputs: of the model, on its device.
        columns: (B, C) positions of the image tokens and then of the question's tokens, in order;
            short rows are filled up with position 0. Image tokens of photos of good parts are not
            among them.
        grids: where the image tokens of each lie.
        anomaly_tokens: (Q,) bool, which tokens of the question are its anomaly words.
        opening: what of the response the chat template has begun, "<think>" or nothing.
        photo_grids: of the photos of good parts, which each prompt has before its image.
    """

    inputs: dict[str, Tensor]
    columns: Tensor
    grids: list[TokenGrid]
    anomaly_tokens: Tensor
    opening: str = ""
    photo_grids: tuple[TokenGrid, ...] = ()


def encode_prompts(
    mllm: MLLM, images: Sequence[Image], settings: Settings, photos: Sequence[Image] = ()
) -> PromptBatch:
    """Encode question and images, and find the positions of their tokens.

    Args:
        mllm: the model.
        images: B RGB images of any sizes, each asked about in a prompt of its own.
        settings: question and resolution.
        photos: RGB images of good parts, put before each image.

    Raises:
        ModelError: if the prompt has other image tokens than its family's, or the model takes no
            photos of good parts.
    """
    check_prompt_photos(mllm, photos)
    processor, family = mllm.processor, mllm.family
    text, opening = chat_prompt(processor, settings.question, len(photos), enable_thinking=False)
    before = [family.fitted(processor, photo, settings) for photo in photos]
    seen = [[*before, family.fitted(processor, image, settings)] for image in images]
    with mllm.tokenizing:
        batch = processor(
            images=seen,
            text=[text] * len(images),
            padding=True,
            padding_side="left",
            return_tensors="pt",
            return_offsets_mapping=True,
            **special_tokens(processor, text),
            **family.options(processor, settings),
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
    found = family.grids(processor, batch, list(chain(*seen)), settings)
    each = len(before) + 1
    grids, photo_grids = found[len(before) :: each], found[: len(before)]
    more = sum(grid.tokens for grid in photo_grids)
    if is_image.sum(dim=1).tolist() != [more + grid.tokens for grid in grids]:
        raise ModelError("The processor makes other image tokens than its family's models read.")
    wanted = [
        torch.cat([image.nonzero()[more:, 0], question.nonzero()[:, 0]])
        for image, question in zip(is_image, in_question, strict=True)
    ]
    columns = torch.nn.utils.rnn.pad_sequence(wanted, batch_first=True)
    question = from_end[0][in_question[0]] - start
    anomaly = torch.zeros(len(question), dtype=torch.bool)
    for word_start, word_end in anomaly_word_spans(settings.question):
        anomaly |= (question[:, 1] > word_start) & (question[:, 0] < word_end)
    batch.to(mllm.device, mllm.model.dtype)
    return PromptBatch(
        dict(batch), columns.to(mllm.device), grids, anomaly, opening, tuple(photo_grids)
    )


def chat_prompt(
    processor: Any, question: str = QUESTION, photos: int = 0, **options: Any
) -> tuple[str, str]:
    """Return the text of the prompt, and what of the response it begins: "<think>" or nothing.

    Args:
        processor: of the model.
        question: put to it.
        photos: of good parts, see `user_message`.
        **options: of its chat template; one that it does not know has no effect.
    """
    return chat_text(processor, user_message(question, photos), **options)


def chat_text(
    processor: Any, messages: Sequence[dict[str, Any]], **options: Any
) -> tuple[str, str]:
    """Return the text of any chat's prompt, as `chat_prompt` does."""
    known = {name: value for name, value in options.items() if name in str(processor.chat_template)}
    text: str = processor.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **known
    )
    return text, "<think>" if text.rstrip().endswith("<think>") else ""


def special_tokens(processor: Any, text: str) -> dict[str, bool]:
    """Return the processor's option that keeps a prompt from beginning twice."""
    begin = processor.tokenizer.bos_token
    return {"add_special_tokens": False} if begin and text.startswith(begin) else {}
