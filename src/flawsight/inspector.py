"""Inspector: the main job. Image → response with attention → token scores → map → inspection.

    prepare → trace → localize

is the only path on which a model is asked; everything that inspects goes through it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, overload

import torch
from PIL import Image

from .ask import ask
from .batches import ImageLike, Outcome, PreparedBatch, TracedBatch, TraceStore
from .calibration import Calibration
from .endpoint.generator import ServedGenerator
from .errors import AnswerError, FlawsightError, ModelError, SettingsError
from .frame import Frame
from .inspection import Inspection, Inspections, Trace
from .io.file_stamp import FileStamp, open_photo
from .io.overlap import overlapped
from .io.photo_roi import cut_photo
from .localize import localize, rule_of
from .mllm.batch_size import check_batch_size, images_at_once
from .mllm.encode import PromptBatch, encode_prompts
from .mllm.load import MLLM, load_mllm
from .mllm.prompt_photos import check_prompt_photos, hash_prompt_photos, read_prompt_photos
from .reference.good_places import GoodPatches
from .reference.learn import learn
from .reference.memory import Reference
from .reference.verdict import check_use, threshold_of
from .refine.attention_prior import AttentionPrior, load_prior, read_prior
from .settings import Settings, preset


class Inspector:
    """Inspects images with one multimodal LLM.

    >>> inspector = Inspector.from_pretrained()        # the bundled model; or a folder, a hub name
    >>> inspection = inspector("part.png")             # or a PIL image, an array, a list of these
    >>> inspection.pred_label, inspection.pred_score, inspection.explanation

    Args:
        mllm: the model.
        settings: of the method; None is preset `default`.
        batch_size: images generated for at once; None takes what fits into the free memory.
        threshold: a part is defective iff pred_score > threshold, in [0, 1]. None goes by the
            calibration, else by the reference, else by the model's answer or, with `score_crops`
            or a reference of a single photo, one half.
        calibration: thresholds of scores and regions; a given `threshold` wins over both.
        category: whose thresholds the calibration gives; None takes those of all together.
        prior: the model's mean attention on normal images, used iff `attention_prior` is on.
        reference: of good photos of the same product; score and map then come from the distance
            from it, and its photos give the threshold.
        false_alarm_rate: that the reference's threshold promises, in (0, 1); None is the lowest
            that its number of photos can promise.
        generator: a server that writes the responses, which the model only replays; None lets the
            model write them.
        trace_store: keeps traces of image files.
        prompt_photos: of good parts, shown to the model before each image, but not before a crop.
            They are shown as they are, also with a region of interest.

    Raises:
        CalibrationError: if the calibration is of another model, other settings or other photos, or
            the reference has too few photos for `false_alarm_rate`.
        ImageError, ModelError: if a prompt photo cannot be read, or the model takes none.
        LearnError: if the reference is of another model or other settings.
        SettingsError: if `batch_size` is below 1 or `threshold` outside [0, 1], if `explain` or
            `false_alarm_rate` needs a reference, or if the rate is given beside a threshold.
    """

    def __init__(
        self,
        mllm: MLLM,
        settings: Settings | None = None,
        batch_size: int | None = 8,
        threshold: float | None = None,
        *,
        calibration: Calibration | None = None,
        category: str | None = None,
        prior: AttentionPrior | None = None,
        reference: Reference | None = None,
        false_alarm_rate: float | None = None,
        generator: ServedGenerator | None = None,
        trace_store: TraceStore | None = None,
        prompt_photos: Sequence[ImageLike] = (),
    ) -> None:
        check_batch_size(batch_size)
        settings = preset("default") if settings is None else settings
        check_use(settings, reference, false_alarm_rate, threshold, calibration)
        self.mllm = mllm
        self.prompt_photos = read_prompt_photos(prompt_photos, settings.bit_depth)
        self.prompt_photos_sha256 = hash_prompt_photos(self.prompt_photos)
        check_prompt_photos(mllm, self.prompt_photos)
        self.prior = prior if settings.attention_prior else None
        if self.prior is not None:
            self.prior.check(settings.layers)
        self.reference = reference
        if reference is not None:
            reference.check(mllm.sha256, settings.to_json())
        self.calibration = calibration if threshold is None else None
        self.category = category
        self.given_settings = settings
        if self.calibration is not None:
            self.calibration.check(
                mllm.sha256,
                settings.to_json(),
                None if self.prior is None else self.prior.sha256,
                None if reference is None else reference.sha256,
                self.prompt_photos_sha256,
            )
            threshold = self.calibration.threshold(category)
            if (calibrated := self.calibration.region_threshold(category)) is not None:
                settings = replace(settings, region_threshold=calibrated)
        self.settings = settings
        self.region_rule = rule_of(settings, calibrated=settings is not self.given_settings)
        self.threshold = threshold_of(settings, reference, false_alarm_rate, threshold)
        self.false_alarm_rate = false_alarm_rate
        self.batch_size = batch_size or images_at_once(mllm, settings, len(self.prompt_photos))
        self.generator = generator
        self._trace_store = trace_store
        self.good_patches = None if reference is None else GoodPatches.of(reference)
        self._prior_density = None if self.prior is None else self.prior.density

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        settings: Settings | str = "default",
        batch_size: int | None = None,
        threshold: float | None = None,
        calibration: Calibration | None = None,
        category: str | None = None,
        prior: str | Path | None = None,
        reference: Reference | str | Path | None = None,
        false_alarm_rate: float | None = None,
        generator: ServedGenerator | None = None,
        prompt_photos: Sequence[ImageLike] = (),
        **load_options: Any,
    ) -> Self:
        """Load a model with its attention prior, and make its inspector.

        Args:
            model: see `load_mllm`; None is the bundled default model.
            settings: a `Settings` or the name of a preset.
            prior: file of the attention prior; None takes the one in the model's folder, if any.
            batch_size, threshold and all others: see `Inspector`; a reference also by name.
            **load_options: `adapter`, `device`, `dtype`, `attention` of `load_mllm`.

        Raises:
            CalibrationError, ImageError, LearnError: as `Inspector`, or if a file cannot be read.
            ModelError: as `Inspector`, or if the model or its attention prior cannot be loaded.
            SettingsError: as `Inspector`, if there is no such preset, device or dtype, or if a
                prior is given that the settings do not use.
        """
        if isinstance(settings, str):
            settings = preset(settings)
        check_batch_size(batch_size)
        if isinstance(reference, str | Path):
            reference = Reference.from_pretrained(reference)
        check_use(settings, reference, false_alarm_rate, threshold, calibration)
        if prior is not None and not settings.attention_prior:
            raise SettingsError("A prior is given, but attention_prior is off in the settings.")
        if prior is not None and not Path(prior).is_file():
            raise ModelError(f"There is no attention prior {prior}; flawsight prior measures one.")
        if calibration is not None and threshold is None:
            calibration.threshold(category)
            calibration.check_settings(settings.to_json())
        mllm = load_mllm(model, **load_options)
        found = None
        if prior is not None:
            found = read_prior(Path(prior), mllm.sha256)
        elif settings.attention_prior:
            found = load_prior(mllm.folder, mllm.sha256)
        return cls(
            mllm, settings, batch_size, threshold,
            calibration=calibration, category=category, prior=found, reference=reference,
            false_alarm_rate=false_alarm_rate, generator=generator, prompt_photos=prompt_photos,
        )  # fmt: skip

    def __repr__(self) -> str:
        rule = "the answer" if self.threshold is None else f"threshold {self.threshold:.3f}"
        good = "" if self.reference is None else f", {len(self.reference.photos)} good photos"
        return f"Inspector({self.mllm.name!r} on {self.mllm.device}, {rule}{good})"

    @overload
    def __call__(self, images: list[ImageLike]) -> Inspections: ...
    @overload
    def __call__(self, images: ImageLike) -> Inspection: ...
    def __call__(self, images: Any) -> Any:
        """Inspect one image or a list of images.

        Args:
            images: path, PIL image, `io.images.Photo`, or uint8/uint16/float array (height, width[,
                3]); or a list, whose result has an error in the place of each that failed.

        Raises:
            ImageError, AnswerError: if the one image cannot be read, or gets no Yes or No.
            ModelError: if the model computes NaN.
        """
        if not isinstance(images, list):
            (one,) = self([images])
            if isinstance(one, FlawsightError):
                raise one
            return one
        inspections = Inspections()

        def keep(traced: TracedBatch) -> None:
            for photo, outcome in self.localize(traced):
                if isinstance(outcome, Inspection) and outcome.image is None:
                    outcome = replace(outcome, photo=photo)
                inspections.append(outcome)

        batches = [images[i : i + self.batch_size] for i in range(0, len(images), self.batch_size)]
        overlapped(batches, self.prepare, self.trace, keep)
        return inspections

    def learn(self, photos: Sequence[ImageLike]) -> Self:
        """Return an inspector that knows good photos; see `reference.learn.learn`.

        Args:
            photos: of good parts of one product, like those to be inspected.

        Raises:
            ImageError: if a photo cannot be read.
            LearnError: if they cannot be used.
        """
        named = (
            (str(photo) if isinstance(photo, str | Path) else f"photo {index}", photo)
            for index, photo in enumerate(photos, start=1)
        )
        bits = self.settings.bit_depth
        read = [(name, open_photo(photo, bits)[0].image) for name, photo in named]
        return type(self)(
            self.mllm, self.given_settings, self.batch_size, prior=self.prior,
            reference=learn(self.mllm, read, self.given_settings), generator=self.generator,
            prompt_photos=self.prompt_photos,
        )  # fmt: skip

    def inspect_batch(self, images: Sequence[ImageLike]) -> list[Inspection | FlawsightError]:
        """Inspect images in one batch, with an error in the place of each that failed.

        Raises:
            ModelError: if the model itself is at fault, for then every image fails.
            DetectorError: if the generator's server is.
        """
        return [outcome for _, outcome in self.localize(self.trace(self.prepare(images)))]

    def prepare(self, images: Sequence[ImageLike]) -> PreparedBatch:
        """Read images and bring them into the form that the model takes."""
        read: list[Image.Image | FlawsightError] = []
        warnings: list[tuple[str, ...]] = []
        stamps: list[FileStamp | None] = []
        stored: list[Trace | None] = []
        seen: list[Image.Image] = []
        frames: list[Frame | None] = []
        for image in images:
            trace: Trace | None = None
            try:
                photo, stamp = open_photo(image, self.settings.bit_depth)
                own, frame = cut_photo(photo, self.settings.roi)
                if self._trace_store is not None and stamp is not None:
                    trace = self._trace_store.load(str(image), stamp)
            except FlawsightError as error:
                read.append(error)
                stamps.append(None)
            else:
                read.append(photo.image)
                stamps.append(stamp)
                warnings.append(own.warnings)
                stored.append(trace)
                seen.append(own.image)
                frames.append(frame)
        new = [image for image, trace in zip(seen, stored, strict=True) if trace is None]
        prompts = encode_prompts(self.mllm, new, self.settings, self.prompt_photos) if new else None
        sizes = [(image.height, image.width) for image in seen]
        return PreparedBatch(images, read, stamps, seen, sizes, frames, warnings, stored, prompts)

    def trace(self, prepared: PreparedBatch) -> TracedBatch:
        """Ask the model about a batch, and trace its responses.

        Raises:
            ModelError: if the model computes NaN, or the batch does not fit into memory.
        """
        began = time.perf_counter()
        made: Iterator[Outcome] = iter(())
        if prepared.prompts is not None:
            try:
                made = iter(self._ask(prepared, prepared.prompts))
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"{len(prepared.prompts.grids)} images at once do not fit into memory; lower "
                    "the batch size (--batch-size) or the resolution (--set image_tokens=…, or "
                    "image_grid=…)."
                ) from error
        traces = [next(made) if trace is None else trace for trace in prepared.stored]
        return TracedBatch(prepared, traces, (time.perf_counter() - began) / max(1, len(traces)))

    def localize(
        self, traced: TracedBatch
    ) -> Iterator[tuple[Image.Image, Inspection | FlawsightError] | tuple[None, FlawsightError]]:
        """Yield each image of a batch with its inspection, or None if it could not be read."""
        prepared = traced.prepared
        made = zip(
            prepared.seen, prepared.sizes, prepared.frames, prepared.warnings, traced.traces,
            strict=True,
        )  # fmt: skip
        for given, image in zip(prepared.given, prepared.images, strict=True):
            if isinstance(image, FlawsightError):
                yield None, image
                continue
            seen, size, frame, warnings, trace = next(made)
            if isinstance(trace, FlawsightError):
                yield image, trace
                continue
            outcome: Inspection | FlawsightError
            try:
                outcome = localize(
                    trace, size, self.settings, threshold=self.threshold,
                    region_rule=self.region_rule, prior=self._prior_density,
                    good=self.good_patches, photo=seen, frame=frame,
                    image=str(given) if isinstance(given, str | Path) else None,
                    trace_seconds=traced.seconds, warnings=warnings,
                )  # fmt: skip
            except AnswerError as error:
                outcome = error
            yield image, outcome

    def _ask(self, prepared: PreparedBatch, prompts: PromptBatch) -> Sequence[Outcome]:
        """Return the traces of the images without a stored one, and store them."""
        files = zip(prepared.given, prepared.images, prepared.stamps, strict=True)
        good = [(given, stamp) for given, image, stamp in files if isinstance(image, Image.Image)]
        read = zip(good, prepared.seen, prepared.stored, strict=True)
        new = [(*one, image) for one, image, trace in read if trace is None]
        images = [image for _, _, image in new]
        traces = ask(
            self.mllm, images, prompts, self.settings, prior=self._prior_density,
            reference=self.reference, threshold=self.threshold, generator=self.generator,
            photos=self.prompt_photos,
        )  # fmt: skip
        for (given, stamp, _), trace in zip(new, traces, strict=True):
            if self._trace_store and stamp is not None and isinstance(trace, Trace):
                self._trace_store.save(str(given), stamp, trace)
        return traces
