"""Inspector: the main job. Image → response with attention → token scores → map → inspection."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

import torch
from PIL import Image

from .endpoint.generator import ServedGenerator, trace_served
from .errors import AnswerError, FlawsightError, ModelError, SettingsError
from .inspection import Inspection, Trace
from .io.images import prepare_image, read_image
from .io.overlap import overlapped
from .localize import inspect_trace
from .mllm.ask_again import ask_again
from .mllm.batch_size import images_at_once
from .mllm.encode import PromptBatch, encode_prompts
from .mllm.generate import generate, generate_from
from .mllm.load import MLLM, load_mllm
from .refine.crops import look_again
from .settings import Settings, preset

ImageLike = str | Path | Image.Image | Any


@dataclass(frozen=True)
class Opened:
    """A batch of N images before the model has seen it.

    Attributes:
        given: the images as they were handed over.
        images: the N upright RGB images, or the error in the place of each that failed.
        sizes: of those that did not, (height, width) in pixels.
        prompts: of the same; None if all failed.
    """

    given: Sequence[ImageLike]
    images: list[Image.Image | FlawsightError]
    sizes: list[tuple[int, int]]
    prompts: PromptBatch | None


@dataclass(frozen=True)
class Traced:
    """A batch after the model has seen it.

    Attributes:
        opened: the batch.
        traces: one for each image that could be read, or why there is none.
        seconds: that it took, for each of them.
    """

    opened: Opened
    traces: Sequence[Trace | FlawsightError]
    seconds: float


class Inspector:
    """Inspects images with one multimodal LLM.

    >>> inspector = Inspector.from_pretrained()        # the bundled model; or a folder, a hub name
    >>> inspection = inspector("part.png")             # or a PIL image, an array, a list of these
    >>> inspection.pred_label, inspection.pred_score, inspection.explanation
    """

    def __init__(
        self,
        mllm: MLLM,
        settings: Settings | None = None,
        batch_size: int | None = 8,
        threshold: float | None = None,
        generator: ServedGenerator | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise SettingsError(f"batch_size is {batch_size}; it must be at least 1.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise SettingsError(f"threshold is {threshold}; it must be in [0, 1].")
        self.mllm = mllm
        settings = preset("default") if settings is None else settings
        if settings.model_heads and mllm.looks is not None:
            settings = replace(settings, model_heads=False, heads=mllm.looks.heads)
        self.settings = settings
        self.batch_size = batch_size or images_at_once(mllm, self.settings)
        self.threshold = self.settings.threshold if threshold is None else threshold
        self.generator = generator

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        settings: Settings | str = "default",
        batch_size: int | None = None,
        threshold: float | None = None,
        generator: ServedGenerator | None = None,
        **load_options: Any,
    ) -> Self:
        """Load a model and make its inspector.

        Args:
            model: see `load_mllm`; None is the bundled default model.
            settings: a `Settings` or the name of a preset.
            batch_size: how many images are generated for at once; None takes what fits into the
                free memory.
            threshold: a part is called defective iff pred_score > threshold, in [0, 1]; None goes
                by the model's answer or, with `score_crops`, is one half.
            generator: writes the responses, and the model only reads them to show where it looks;
                None lets the model write them.
            **load_options: `adapter`, `device`, `dtype`, `attention` of `load_mllm`.

        Raises:
            ModelError: if the model cannot be loaded.
            SettingsError: if there is no such preset, device or dtype, or `batch_size` is below 1
                or `threshold` outside [0, 1].
        """
        if isinstance(settings, str):
            settings = preset(settings)
        return cls(load_mllm(model, **load_options), settings, batch_size, threshold, generator)

    @overload
    def __call__(self, images: list[ImageLike]) -> list[Inspection]: ...
    @overload
    def __call__(self, images: ImageLike) -> Inspection: ...
    def __call__(self, images: Any) -> Any:
        """Inspect one image or a list of images.

        Args:
            images: path, PIL image, or uint8/uint16/float array (height, width[, 3]); or a list.

        Raises:
            ImageError: if an image cannot be read.
            AnswerError: if a response holds no Yes or No.
            ModelError: if the model computes NaN.
        """
        if not isinstance(images, list):
            return self([images])[0]
        inspections: list[Inspection] = []

        def keep(traced: Traced) -> None:
            for _, outcome in self.localize(traced):
                if isinstance(outcome, FlawsightError):
                    raise outcome
                inspections.append(outcome)

        size = self.batch_size
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        overlapped(batches, self.open, self.trace, keep)
        return inspections

    def inspect_batch(self, images: Sequence[ImageLike]) -> list[Inspection | FlawsightError]:
        """Inspect images in one batch, with an error in the place of each that failed.

        Raises:
            ModelError: if the model itself is at fault, for then every image fails.
            DetectorError: if the generator's server is.
        """
        return [outcome for _, outcome in self.localize(self.trace(self.open(images)))]

    def open(self, images: Sequence[ImageLike]) -> Opened:
        """Read images and bring them into the form that the model takes."""
        opened: list[Image.Image | FlawsightError] = []
        for image in images:
            try:
                if isinstance(image, str | Path):
                    opened.append(read_image(image))
                else:
                    opened.append(prepare_image(image))
            except FlawsightError as error:
                opened.append(error)
        good = [image for image in opened if isinstance(image, Image.Image)]
        prompts = encode_prompts(self.mllm, good, self.settings) if good else None
        return Opened(images, opened, [(image.height, image.width) for image in good], prompts)

    def trace(self, opened: Opened) -> Traced:
        """Ask the model about a batch, and trace its responses.

        Raises:
            ModelError: if the model computes NaN, or the batch does not fit into memory.
        """
        began = time.perf_counter()
        traces: Sequence[Trace | FlawsightError] = []
        if opened.prompts is not None:
            try:
                traces = self._traces(opened)
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"{len(opened.prompts.grids)} images at once do not fit into memory; lower the "
                    "batch size (--batch-size) or the resolution (--set image_tokens=…)."
                ) from error
        return Traced(opened, traces, (time.perf_counter() - began) / max(1, len(traces)))

    def localize(
        self, traced: Traced
    ) -> Iterator[tuple[Image.Image, Inspection | FlawsightError] | tuple[None, FlawsightError]]:
        """Yield each image of a batch with its inspection, or None if it could not be read."""
        opened = traced.opened
        made = zip(opened.sizes, traced.traces, strict=True)
        for given, image in zip(opened.given, opened.images, strict=True):
            if isinstance(image, FlawsightError):
                yield None, image
                continue
            size, trace = next(made)
            if isinstance(trace, FlawsightError):
                yield image, trace
                continue
            name = str(given) if isinstance(given, str | Path) else None
            outcome: Inspection | FlawsightError
            try:
                outcome = inspect_trace(
                    trace,
                    size,
                    self.settings,
                    name,
                    traced.seconds,
                    self.threshold,
                    self.mllm.looks,
                    image,
                )
            except AnswerError as error:
                outcome = error
            yield image, outcome

    def _traces(self, opened: Opened) -> Sequence[Trace | FlawsightError]:
        assert opened.prompts is not None
        images = [image for image in opened.images if isinstance(image, Image.Image)]
        ask: Callable[[list[Image.Image], Settings], Sequence[Trace | FlawsightError]]
        traces: Sequence[Trace | FlawsightError]
        if self.generator is None:
            ask = partial(generate, self.mllm)
            traces = generate_from(self.mllm, opened.prompts, self.settings)
        else:
            ask = partial(trace_served, self.generator, self.mllm)
            traces = ask(images, self.settings)
        traces = ask_again(ask, images, traces, self.settings)
        return look_again(self.mllm, images, traces, self.settings)
