"""What the checks look at: a model, photos, and what the model makes of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from PIL.Image import Image
from torch import Tensor

from ..errors import FlawsightError
from ..inspection import Trace
from ..inspector import Inspector
from ..mllm.capture import chosen_layers
from ..mllm.encode import PromptBatch, encode_prompts
from ..mllm.generate import respond
from ..mllm.load import MLLM
from ..mllm.replay import replay
from ..settings import Settings
from .eager import eager_forward
from .peak_memory import PeakMemory


@dataclass(frozen=True)
class TracedPhotos:
    """All photos, as `flawsight inspect` traces them.

    Attributes:
        traces: of the photos that did not fail.
        errors: of the others.
        seconds: spent on all.
        peak_bytes: of memory needed for it, beyond the model.
        batch: photos at once.
    """

    traces: list[Trace]
    errors: list[FlawsightError]
    seconds: float
    peak_bytes: int
    batch: int


@dataclass(frozen=True)
class Case:
    """A model with N photos. What the model makes of them is computed once, when first needed.

    Attributes:
        inspector: has the model and the settings.
        paths: of the photos.
        images: the photos, upright and RGB.
    """

    inspector: Inspector
    paths: Sequence[Path]
    images: Sequence[Image]

    @property
    def mllm(self) -> MLLM:
        """The model."""
        return self.inspector.mllm

    @property
    def settings(self) -> Settings:
        """Of the inspection."""
        return self.inspector.settings

    @cached_property
    def greedy(self) -> Settings:
        """The settings for one photo, whose response does not depend on chance."""
        return replace(self.settings, temperature=0.0)

    @cached_property
    def prompts(self) -> PromptBatch:
        """The prompt of the first photo."""
        good = self.inspector.prompt_photos
        return encode_prompts(self.mllm, self.images[:1], self.greedy, good)

    def replayed(self, response: str | Sequence[int]) -> Trace:
        """Return the trace of a response to the first photo."""
        good = self.inspector.prompt_photos
        return replay(self.mllm, self.images[:1], [response], self.greedy, photos=good)[0]

    @cached_property
    def response(self) -> list[int]:
        """The tokens of the greedy response to the first photo."""
        prompts, length = self.prompts, self.settings.max_new_tokens
        with self.mllm.lock:
            return respond(self.mllm, prompts.inputs, length, opening=prompts.opening)[0][0]

    @cached_property
    def eager_rows(self) -> Tensor:
        """(N, T) eager attention of the positions before the N tokens of that response."""
        layers = chosen_layers(self.mllm.model, self.settings.layers)
        return eager_forward(self.mllm, self.prompts.inputs, self.response, layers)[1]

    @cached_property
    def traced(self) -> TracedPhotos:
        """All photos, traced in batches."""
        size = self.inspector.batch_size
        outcomes: list[Trace | FlawsightError] = []
        began = time.perf_counter()
        with PeakMemory(self.mllm.device) as memory:
            for start in range(0, len(self.images), size):
                prepared = self.inspector.prepare(self.images[start : start + size])
                outcomes += self.inspector.trace(prepared).traces
        return TracedPhotos(
            [outcome for outcome in outcomes if isinstance(outcome, Trace)],
            [outcome for outcome in outcomes if isinstance(outcome, FlawsightError)],
            time.perf_counter() - began,
            memory.peak_bytes,
            min(size, len(self.images)),
        )
