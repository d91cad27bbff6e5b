"""Chats with any number of images → text, without attention."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image

from ..errors import ImageError, ModelError
from .encode import chat_text, special_tokens
from .generate import respond
from .load import MLLM


@torch.inference_mode()
def answer_chats(
    mllm: MLLM,
    chats: Sequence[list[dict[str, Any]]],
    images: Sequence[Sequence[Image]],
    max_new_tokens: int,
) -> list[str | ImageError]:
    """Answer B chats, decoded greedily, without a checkpoint's repetition penalty.

    Args:
        mllm: of any family.
        chats: each with as many image parts as it has images, as `prompt.choice_message` makes it.
        images: those of each chat, in the order of its parts, all RGB.
        max_new_tokens: length at which an answer is cut off.

    Returns:
        Per chat its answer, or an error if the model's processor cannot take its images.

    Raises:
        ModelError: if the model computes NaN, the batch does not fit into memory, or the chat
            template leaves out images.
    """
    processor = mllm.processor
    # Qwen's templates then number the images.
    prompts = [chat_text(processor, chat, add_vision_id=True) for chat in chats]
    texts, openings = map(list, zip(*prompts, strict=True))
    try:
        with mllm.tokenizing:
            inputs = processor(
                text=texts,
                images=[list(each) for each in images],
                padding=True,
                padding_side="left",
                return_tensors="pt",
                **special_tokens(processor, texts[0]),
            ).to(mllm.device, mllm.model.dtype)
    except Exception as error:  # an image that this family cannot take
        if len(chats) > 1:
            pairs = zip(chats, images, strict=True)
            return [answer_chats(mllm, [c], [i], max_new_tokens)[0] for c, i in pairs]
        return [ImageError(f"The model's processor cannot take the images: {error}")]
    try:
        with mllm.lock:
            ids, _ = respond(mllm, inputs, max_new_tokens, opening=openings[0])
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{len(chats)} questions at once do not fit into memory; lower batch_size, or set "
            "max_pixels."
        ) from error
    answers = processor.tokenizer.batch_decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [opening + answer for opening, answer in zip(openings, answers, strict=True)]
