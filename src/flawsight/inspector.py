"""Inspector: the main job. Image → response with attention → token scores → map → inspection."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import torch
from PIL import Image

from .data.images import prepare_image, read_image
from .errors import AnswerError, FlawsightError, ModelError, SettingsError
from .inspection import Inspection, ReasoningToken, Trace
from .mllm.contradiction import contradicts, fault_phrases
from .mllm.generate import PromptBatch, encode_prompts, generate_from
from .mllm.load import MLLM, load_mllm
from .mllm.looks import Looks
from .mllm.memory import images_at_once
from .mllm.response import answer_score, parse_response
from .mllm.second_look import look_again
from .mllm.served import ServedGenerator, trace_served
from .pipeline import overlapped
from .real.anomaly_map import HALF, aggregate, density, to_fixed_scale, upsample
from .real.refine import merge
from .real.regions import regions_of, tie_words
from .real.select import reasoning_rows, select_tokens
from .real.sinks import relative, sink_share
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
        self.threshold = threshold
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
                by the model's answer.
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
                )
            except AnswerError as error:
                outcome = error
            yield image, outcome

    def _traces(self, opened: Opened) -> Sequence[Trace | FlawsightError]:
        assert opened.prompts is not None
        images = [image for image in opened.images if isinstance(image, Image.Image)]
        traces: Sequence[Trace | FlawsightError]
        if self.generator is None:
            traces = generate_from(self.mllm, opened.prompts, self.settings)
        else:
            traces = trace_served(self.generator, self.mllm, images, self.settings)
        return look_again(self.mllm, images, traces, self.settings)


def inspect_trace(
    trace: Trace,
    image_size: tuple[int, int],
    settings: Settings,
    image: str | None = None,
    generate_seconds: float = 0.0,
    threshold: float | None = None,
    looks: Looks | None = None,
) -> Inspection:
    """Turn what the model said and looked at into an Inspection. No model is needed.

    Args:
        trace: of one response.
        image_size: (height, width) of the image in pixels.
        settings: of ReAL.
        image: where the image came from.
        generate_seconds: what the trace cost.
        threshold: see `Inspector.from_pretrained`.
        looks: of the model, for `settings.relative` and `sink_share`.

    Raises:
        AnswerError: if the response holds no Yes or No.
    """
    began = time.perf_counter()
    response = parse_response(trace.text)
    start, end = response.reasoning
    reasoning, rows, eligible = reasoning_rows(trace, response.reasoning, settings)
    words = [trace.text[slice(*trace.token_spans[index])] for index in reasoning]
    maps = trace.image_attention[rows]
    scores = select_tokens(
        maps,
        trace.question_attention[rows],
        trace.anomaly_tokens,
        eligible,
        settings,
    )
    pred_score = answer_score(trace, response)
    attention = aggregate(maps, scores.kept, scores.weights)
    usual = None if looks is None else looks.usual(settings.layers, settings.heads)
    anomaly_map = map_of(attention, trace, image_size, settings, usual).numpy()
    if settings.scale_by_score:
        anomaly_map = anomaly_map * np.float32(pred_score)
    explanation = trace.text[start:end]
    spans = [trace.token_spans[index] for index in reasoning]
    told = [
        (
            explanation[first:last],
            [i for i, span in enumerate(spans) if first < span[1] - start <= last],
        )
        for first, last in fault_phrases(explanation)
    ]
    regions = sorted(regions_of(anomaly_map, settings.region_threshold), key=lambda one: -one.score)
    stripped = explanation.strip()
    lead = len(explanation) - len(explanation.lstrip())
    return Inspection(
        image=image,
        image_size=image_size,
        pred_label=response.answer == "Yes" if threshold is None else pred_score > threshold,
        pred_score=pred_score,
        anomaly_map=anomaly_map,
        answer=response.answer,
        explanation=stripped,
        contradiction=contradicts(explanation, response.answer),
        tokens=tuple(
            ReasoningToken(
                text=word,
                start=min(max(0, trace.token_spans[index][0] - start - lead), len(stripped)),
                end=min(max(0, trace.token_spans[index][1] - start - lead), len(stripped)),
                S_T=S_T,
                S_I=S_I,
                kept=kept,
                weight=weight,
            )
            for index, word, S_T, S_I, kept, weight in zip(
                reasoning,
                words,
                scores.semantic_relevance.tolist(),
                scores.concentration.tolist(),
                scores.kept.tolist(),
                scores.weights.tolist(),
                strict=True,
            )
        ),
        token_maps=maps.numpy(),
        timings={"generate": generate_seconds, "localize": time.perf_counter() - began},
        sink_share=None if usual is None else sink_share(density(attention), usual),
        regions=tie_words(regions, maps.numpy(), told),
    )


def map_of(
    attention: torch.Tensor,
    trace: Trace,
    image_size: tuple[int, int],
    settings: Settings,
    usual: torch.Tensor | None = None,
) -> torch.Tensor:
    """Turn A_RDAM into the image's map, with the steps beyond the paper that the settings name.

    Args:
        attention: (grid_h, grid_w) A_RDAM.
        trace: whose closer looks are merged, `settings.tiles` at most.
        image_size: (height, width).
        settings: `relative` and `tiles`.
        usual: (h, w) density on good images; None leaves `relative` out.

    Returns:
        (height, width) in [0, 1).
    """
    parts = trace.glances[: settings.tiles]
    if settings.relative and usual is not None:
        attention = relative(density(attention), usual)
        parts = tuple(
            replace(part, attention=relative(density(part.attention), usual)) for part in parts
        )
    if not parts:
        return upsample(to_fixed_scale(attention), image_size)
    looks = [(part.box, density(part.attention), part.score) for part in parts]
    merged = merge(density(attention), looks, image_size)
    return merged / (merged + HALF)
