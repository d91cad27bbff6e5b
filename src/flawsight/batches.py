"""What the Inspector's steps hand to one another, a batch of images at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from .errors import FlawsightError
from .frame import Frame
from .inspection import Trace
from .io.file_stamp import FileStamp
from .io.images import Photo
from .mllm.encode import PromptBatch

ImageLike = str | Path | Image.Image | Photo | Any
Outcome = Trace | FlawsightError


@dataclass(frozen=True)
class PreparedBatch:
    """A batch of N images before the model runs on it.

    Attributes:
        given: the images as they were handed over.
        images: the N upright RGB images, or the error in the place of each that failed.
        stamps: of the N files; None of an image in memory, or that failed.
        seen: of those that did not, what the model sees of them.
        sizes: of that, (height, width) in pixels.
        frames: where that lies in the image; None if it is the whole.
        warnings, stored: of the same, what their readers warn of, and the stored trace or None.
        prompts: of those without a stored trace; None if there are none.
    """

    given: Sequence[ImageLike]
    images: list[Image.Image | FlawsightError]
    stamps: list[FileStamp | None]
    seen: list[Image.Image]
    sizes: list[tuple[int, int]]
    frames: list[Frame | None]
    warnings: list[tuple[str, ...]]
    stored: list[Trace | None]
    prompts: PromptBatch | None


@dataclass(frozen=True)
class TracedBatch:
    """A batch after the model has run on it.

    Attributes:
        prepared: the batch.
        traces: one for each image that could be read, or why there is none.
        seconds: spent on each of them.
    """

    prepared: PreparedBatch
    traces: Sequence[Outcome]
    seconds: float


class TraceStore(Protocol):
    """Keeps the traces of one model and its generation settings (runs/trace_store.py)."""

    def load(self, image: str, stamp: FileStamp) -> Trace | None:
        """Return the trace of an image file with these bytes; None if there is none."""

    def save(self, image: str, stamp: FileStamp, trace: Trace) -> None:
        """Keep the trace of an image file with these bytes."""
