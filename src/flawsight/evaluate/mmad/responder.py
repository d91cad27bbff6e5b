"""The interface of every model that answers multiple-choice questions about images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from PIL.Image import Image, Resampling

from ...errors import FlawsightError, SettingsError
from ...io.images import read_photo

T = TypeVar("T")


@dataclass(frozen=True)
class ChoicePrompt:
    """A question to be asked.

    Attributes:
        question: about the last image.
        options: letter → text.
        images: photos of good parts, and the image.
    """

    question: str
    options: Mapping[str, str]
    images: tuple[Path, ...]


class Responder(Protocol):
    """A model under comparison. It gets questions and images, never the right answers."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def batch_size(self) -> int:
        """How many questions it answers at once."""

    def about(self) -> dict[str, Any]:
        """Return, as JSON types, all that its answers depend on, without secrets."""

    def respond(self, prompts: Sequence[ChoicePrompt]) -> list[str | FlawsightError]:
        """Return the response to each question, or its error.

        Raises:
            FlawsightError: if every question would fail.
        """


def check_max_pixels(max_pixels: int | None) -> None:
    """Raise SettingsError if a limit of pixels makes no sense."""
    if max_pixels is not None and max_pixels < 1:
        raise SettingsError(f"max_pixels is {max_pixels}; it must be at least 1.")


def read_each(
    prompts: Sequence[ChoicePrompt],
    max_pixels: int | None,
    bit_depth: int | None,
    encode: Callable[[Image], T],
) -> list[list[T] | FlawsightError]:
    """Read the images of each prompt, each file once.

    Args:
        prompts: whose images are read.
        max_pixels: to which larger images are reduced; None keeps all.
        bit_depth: of photos, see `Settings`.
        encode: makes of an RGB image what a responder passes on.

    Returns:
        Per prompt its images, or the error of the first that cannot be read.
    """
    read: dict[Path, T | FlawsightError] = {}
    for path in {path for prompt in prompts for path in prompt.images}:
        try:
            read[path] = encode(_reduced(read_photo(path, bit_depth).image, max_pixels))
        except FlawsightError as error:
            read[path] = error
    outcomes: list[list[T] | FlawsightError] = []
    for prompt in prompts:
        images: list[T] = []
        for path in prompt.images:
            outcome = read[path]
            if isinstance(outcome, FlawsightError):
                outcomes.append(outcome)
                break
            images.append(outcome)
        else:
            outcomes.append(images)
    return outcomes


def _reduced(image: Image, max_pixels: int | None) -> Image:
    if max_pixels is None or image.width * image.height <= max_pixels:
        return image
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Resampling.BICUBIC)
