"""Any chat VLM of transformers: answers without attention or map."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...errors import AnswerError, FlawsightError, ImageError, ModelError, SettingsError
from ...inspection import share_of_yes
from ...io.images import Photo, read_photo
from ...mllm.answer_probability import answer_margins
from ...mllm.contradiction import contradicts
from ...mllm.encode import chat_prompt, special_tokens
from ...mllm.generate import respond
from ...mllm.load import MLLM
from ...mllm.response import forced_response, parse_response
from ...prompt import QUESTION
from ...settings import check_bit_depth
from .protocol import Prediction, about_bit_depth, each


class ChatVLMDetector:
    """Asks a chat VLM flawsight's question and parses its answer, decoded greedily.

    Args:
        name: in tables.
        mllm: of any family.
        batch_size: images at once.
        max_new_tokens: length at which a response is cut off. A thinking model needs thousands.
        bit_depth: of photos, see `Settings`.

    Raises:
        SettingsError: if a number is below 1.
    """

    def __init__(
        self,
        name: str,
        mllm: MLLM,
        batch_size: int = 8,
        max_new_tokens: int = 512,
        bit_depth: int | None = None,
    ) -> None:
        check_bit_depth(bit_depth)
        for label, value in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens)):
            if value < 1:
                raise SettingsError(f"{label} is {value}; it must be at least 1.")
        self.name = name
        self.batch_size = batch_size
        self._mllm = mllm
        self._max_new_tokens = max_new_tokens
        self._bit_depth = bit_depth
        self._prompt, self._opening = chat_prompt(mllm.processor)

    def about(self) -> dict[str, Any]:
        """Return the model, the question and the length of responses."""
        return {
            "model": {
                "name": self._mllm.name,
                "sha256": self._mllm.sha256,
                "dtype": str(self._mllm.model.dtype).removeprefix("torch."),
            },
            "question": QUESTION,
            "max_new_tokens": self._max_new_tokens,
        } | about_bit_depth(self._bit_depth)

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Ask about a batch of images; return an error for each that failed.

        pred_score is P(Yes) / (P(Yes) + P(No)), in [0, 1].

        Raises:
            ModelError: if the model computes NaN, or the batch does not fit into memory.
        """
        opened = each(partial(read_photo, bit_depth=self._bit_depth), images)
        good = [photo.image for photo in opened if isinstance(photo, Photo)]
        outcomes = iter(self._ask(good) if good else [])
        return [
            _warned(next(outcomes), photo) if isinstance(photo, Photo) else photo
            for photo in opened
        ]

    @torch.inference_mode()
    def _ask(self, images: list[Image.Image]) -> list[Prediction | FlawsightError]:
        began = time.perf_counter()
        mllm = self._mllm
        try:
            inputs = mllm.processor(
                text=[self._prompt] * len(images),
                images=[[image] for image in images],
                padding=True,
                padding_side="left",
                return_tensors="pt",
                **special_tokens(mllm.processor, self._prompt),
            ).to(mllm.device, mllm.model.dtype)
        except Exception as error:  # an image that this family cannot take
            if len(images) > 1:
                return [self._ask([image])[0] for image in images]
            return [ImageError(f"The model's processor cannot take the image: {error}")]
        try:
            with mllm.lock:
                ids, hidden = respond(mllm, inputs, self._max_new_tokens, opening=self._opening)
                answers = answer_margins(mllm, inputs, ids, hidden, self._opening)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{len(images)} images at once do not fit into memory; lower batch_size."
            ) from error
        share = (time.perf_counter() - began) / len(images)
        texts = mllm.processor.tokenizer.batch_decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [self._read(*response, share) for response in zip(texts, answers, strict=True)]

    def _read(
        self, text: str, answer: tuple[float, bool], seconds: float
    ) -> Prediction | AnswerError:
        """Read a response with its log P(Yes) − log P(No), and whether that answer was forced."""
        margin, forced = answer
        text = self._opening + text
        try:
            response = forced_response(text, margin > 0) if forced else parse_response(text)
        except AnswerError as error:
            return error
        explanation = text[slice(*response.reasoning)]
        return Prediction(
            pred_score=share_of_yes(margin),
            pred_label=response.answer == "Yes",
            explanation=explanation.strip(),
            contradiction=contradicts(explanation, response.answer),
            seconds=seconds,
        )


def _warned(outcome: Prediction | FlawsightError, photo: Photo) -> Prediction | FlawsightError:
    if isinstance(outcome, FlawsightError):
        return outcome
    return replace(outcome, details={"warnings": list(photo.warnings)})
