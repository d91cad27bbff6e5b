"""Any chat VLM of transformers, answers only: no attention, no map."""

import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...errors import AnswerError, FlawsightError, ImageError, ModelError, SettingsError
from ...io.images import read_image
from ...mllm.contradiction import contradicts
from ...mllm.generate import respond
from ...mllm.load import MLLM
from ...mllm.response import parse_response
from ...prompt import QUESTION, user_message
from .protocol import Prediction


class ChatVLMDetector:
    """Asks flawsight's question of a chat VLM and reads its answer, decoded greedily.

    Args:
        name: in tables.
        mllm: of any family.
        batch_size: images at once.
        max_new_tokens: length at which a response is cut off. A thinking model needs thousands.

    Raises:
        SettingsError: if a number is below 1.
    """

    def __init__(
        self, name: str, mllm: MLLM, batch_size: int = 8, max_new_tokens: int = 512
    ) -> None:
        for label, value in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens)):
            if value < 1:
                raise SettingsError(f"{label} is {value}; it must be at least 1.")
        self.name = name
        self.batch_size = batch_size
        self._mllm = mllm
        self._max_new_tokens = max_new_tokens
        self._prompt = mllm.processor.apply_chat_template(
            user_message(), tokenize=False, add_generation_prompt=True
        )
        # The chat template of a thinking model begins the response.
        self._prefix = "<think>" if self._prompt.rstrip().endswith("<think>") else ""

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
        }

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Ask about a batch of images, with an error in the place of each that failed.

        pred_score is P(Yes) / (P(Yes) + P(No)) at the answer token, in [0, 1].

        Raises:
            ModelError: if the model computes NaN, or the batch does not fit into memory.
        """
        outcomes: dict[int, Prediction | FlawsightError] = {}
        opened: dict[int, Image.Image] = {}
        for index, path in enumerate(images):
            try:
                opened[index] = read_image(path)
            except FlawsightError as error:
                outcomes[index] = error
        if opened:
            outcomes.update(zip(opened, self._ask(list(opened.values())), strict=True))
        return [outcomes[index] for index in range(len(images))]

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
            ).to(mllm.device, mllm.model.dtype)
        except Exception as error:  # an image that this family cannot take
            if len(images) > 1:
                return [self._ask([image])[0] for image in images]
            return [ImageError(f"The model's processor cannot take the image: {error}")]
        try:
            with mllm.lock:
                ids, margins = respond(mllm, inputs, self._max_new_tokens)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{len(images)} images at once do not fit into memory; lower batch_size."
            ) from error
        share = (time.perf_counter() - began) / len(images)
        return [self._read(*response, share) for response in zip(ids, margins, strict=True)]

    def _read(
        self, ids: list[int], margins: torch.Tensor, seconds: float
    ) -> Prediction | AnswerError:
        """Read a response of R tokens with its (R,) log P(Yes) − log P(No)."""
        tokenizer = self._mllm.processor.tokenizer

        def decoded(count: int) -> str:
            text: str = tokenizer.decode(
                ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            return self._prefix + text

        text = decoded(len(ids))
        try:
            response = parse_response(text)
        except AnswerError as error:
            return error
        # The first token that ends beyond the answer's start; a token may end within a character.
        answer_token = bisect_right(
            range(len(ids)),
            response.answer_start,
            key=lambda index: len(decoded(index + 1).rstrip("\ufffd")),
        )
        explanation = text[slice(*response.reasoning)]
        return Prediction(
            pred_score=float(margins[answer_token].double().sigmoid()),
            pred_label=response.answer == "Yes",
            explanation=explanation.strip(),
            contradiction=contradicts(explanation, response.answer),
            seconds=seconds,
        )
