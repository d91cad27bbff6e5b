"""Any chat VLM of transformers answers multiple-choice questions."""

from collections.abc import Sequence
from typing import Any

from ...errors import FlawsightError, SettingsError
from ...mllm.answer_chats import answer_chats
from ...mllm.load import MLLM
from ...prompt import choice_message
from ...settings import check_bit_depth
from ..detectors.protocol import about_bit_depth
from .responder import ChoicePrompt, check_max_pixels, read_each


class ChatResponder:
    """Asks a chat VLM, decoded greedily.

    Args:
        name: in tables.
        mllm: of any family.
        batch_size: questions at once.
        max_new_tokens: length at which a response is cut off. A thinking model needs thousands.
        max_pixels: to which larger images are reduced; None leaves it to the checkpoint.
        bit_depth: of photos, see `Settings`.

    Raises:
        SettingsError: if a number is below 1.
    """

    def __init__(
        self,
        name: str,
        mllm: MLLM,
        batch_size: int = 8,
        max_new_tokens: int = 128,
        max_pixels: int | None = None,
        bit_depth: int | None = None,
    ) -> None:
        check_bit_depth(bit_depth)
        check_max_pixels(max_pixels)
        for label, value in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens)):
            if value < 1:
                raise SettingsError(f"{label} is {value}; it must be at least 1.")
        self.name = name
        self.batch_size = batch_size
        self._mllm = mllm
        self._max_new_tokens = max_new_tokens
        self._max_pixels = max_pixels
        self._bit_depth = bit_depth

    def about(self) -> dict[str, Any]:
        """Return the model, the length of responses and the size of images."""
        return {
            "model": {
                "name": self._mllm.name,
                "sha256": self._mllm.sha256,
                "dtype": str(self._mllm.model.dtype).removeprefix("torch."),
            },
            "max_new_tokens": self._max_new_tokens,
            "max_pixels": self._max_pixels,
        } | about_bit_depth(self._bit_depth)

    def respond(self, prompts: Sequence[ChoicePrompt]) -> list[str | FlawsightError]:
        """Ask all questions, `batch_size` at once; return an error for each that failed.

        Raises:
            ModelError: if the model computes NaN, or a batch does not fit into memory.
        """
        read = read_each(prompts, self._max_pixels, self._bit_depth, lambda image: image)
        outcomes: list[str | FlawsightError] = [
            images if isinstance(images, FlawsightError) else "" for images in read
        ]
        asked = [
            (index, choice_message(prompt.question, prompt.options, len(images) - 1), images)
            for index, (prompt, images) in enumerate(zip(prompts, read, strict=True))
            if not isinstance(images, FlawsightError)
        ]
        for start in range(0, len(asked), self.batch_size):
            numbers, chats, images = zip(*asked[start : start + self.batch_size], strict=True)
            answers = answer_chats(self._mllm, chats, images, self._max_new_tokens)
            for number, answer in zip(numbers, answers, strict=True):
                outcomes[number] = answer
        return outcomes
