"""What `flawsight serve` inspects with: one inspector per product, which share the model."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..calibration import Calibration
from ..errors import CalibrationError, LearnError, ServeError
from ..inspector import Inspector
from ..mllm.load import MLLM
from ..mllm.swap_adapter import swap_adapter
from ..reference.learn import learn
from ..reference.memory import Reference
from ..refine.attention_prior import AttentionPrior, load_prior, read_prior
from ..serve.batching import InspectBatch
from ..serve.inspection_setup import Setup
from ..serve.references import NO_REFERENCES, ReadFile, References, load_references
from ..settings import Settings


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What inspectors are made of.

    Attributes:
        model, settings, threshold: of `Inspector.from_pretrained`.
        references: files by product; without any, there is one inspector for all.
        calibrations: files by product; of None without references.
        adapter, prior: as on the command line, or None.
        options: more of `Inspector.from_pretrained`.
    """

    model: str | None
    settings: Settings
    threshold: float | None
    references: Mapping[str, Path]
    calibrations: Mapping[str | None, Path]
    adapter: str | None
    prior: Path | None
    options: Mapping[str, Any]

    @property
    def paths(self) -> list[Path]:
        """The files and folders that a reload reads; an adapter of the hub has none."""
        adapter = [] if self.adapter is None else [Path(self.adapter).expanduser()]
        prior = [] if self.prior is None or not adapter else [self.prior]
        return [*self.references.values(), *self.calibrations.values(), *adapter, *prior]


@dataclass(frozen=True)
class Loaded:
    """Inspectors with their setup; `inspector` is that of the first product, or of all."""

    inspector: Inspector
    setup: Setup


def load_inspectors(sources: Sources) -> Loaded:
    """Load the model once, and make the inspectors.

    Raises:
        CalibrationError, LearnError: if a calibration or reference cannot be read, or is of another
            model or other settings.
        ServeError: if there are prompt photos and several products.
        ModelError, SettingsError: as `Inspector.from_pretrained`.
    """
    known, calibrations = _read(sources)
    if len(known) > 1 and sources.options.get("prompt_photos"):
        raise ServeError(
            "--prompt-photo shows a part of one product, and there are several references; start "
            "one service per product."
        )
    product = next(iter(known), None)
    with _naming(sources, product):
        first = Inspector.from_pretrained(
            sources.model, settings=sources.settings, threshold=sources.threshold,
            adapter=sources.adapter, prior=sources.prior, keep_bare=sources.adapter is not None,
            reference=None if product is None else known[product][2],
            calibration=calibrations.get(product), category=_category(calibrations, product),
            **sources.options,
        )  # fmt: skip
    return _loaded(sources, first, known, calibrations)


def reload_inspectors(sources: Sources, loaded: Loaded) -> Loaded:
    """Make the inspectors again of the files as they are now, and try them on a photo.

    The weights of the model are shared with those loaded before, which stay as they are.

    Raises:
        CalibrationError, LearnError, ModelError: as `load_inspectors`, or if the model computes
            nonsense.
    """
    known, calibrations = _read(sources)
    old = loaded.inspector
    mllm, prior = old.mllm, old.prior
    if sources.adapter is not None:
        mllm = swap_adapter(old.mllm, sources.adapter)
        prior = _prior(sources, mllm)
    product = next(iter(known), None)
    with _naming(sources, product):
        first = Inspector(
            mllm, sources.settings, old.batch_size, sources.threshold, prior=prior,
            reference=None if product is None else known[product][2],
            calibration=calibrations.get(product), category=_category(calibrations, product),
            prompt_photos=old.prompt_photos,
        )  # fmt: skip
    first.inspect_batch([_trial_photo()])
    return _loaded(sources, first, known, calibrations)


def _read(
    sources: Sources,
) -> tuple[dict[str, ReadFile], dict[str | None, Calibration]]:
    calibrations = {name: Calibration.load(file) for name, file in sources.calibrations.items()}
    return load_references(sources.references), calibrations


def _prior(sources: Sources, mllm: MLLM) -> AttentionPrior | None:
    """Return the prior of a model as `Inspector.from_pretrained` finds it."""
    if sources.prior is not None:
        return read_prior(sources.prior, mllm.sha256)
    return load_prior(mllm.folder, mllm.sha256) if sources.settings.attention_prior else None


def _loaded(
    sources: Sources,
    first: Inspector,
    known: Mapping[str, ReadFile],
    calibrations: Mapping[str | None, Calibration],
) -> Loaded:
    def inspector_of(name: str, reference: Reference) -> Inspector:
        with _naming(sources, name):
            return Inspector(
                first.mllm, sources.settings, first.batch_size, sources.threshold,
                prior=first.prior, reference=reference, calibration=calibrations.get(name),
                category=_category(calibrations, name), prompt_photos=first.prompt_photos,
            )  # fmt: skip

    def learn_again(
        reference: Reference,
        photos: Sequence[tuple[str, Image.Image]],
        forget: Collection[str],
    ) -> Reference:
        return learn(first.mllm, photos, sources.settings, reference, forget)

    @lru_cache(maxsize=64)
    def cut_to(roi: str) -> InspectBatch:
        settings = replace(sources.settings, roi=roi)
        return Inspector(
            first.mllm, settings, first.batch_size, sources.threshold, prior=first.prior
        ).inspect_batch

    fixed = bool(known) or first.calibration is not None or bool(first.prompt_photos)
    references, thresholds = NO_REFERENCES, dict[str, float]()
    if known:
        given = sources.threshold is not None
        held = () if given else [name for name in calibrations if name is not None]
        references = References(known, learn_again, inspector_of, held)
    elif first.calibration is not None:
        thresholds = first.calibration.by_category
    about = {
        "model": first.mllm.name,
        "model_sha256": first.mllm.sha256,
        "bit_depth": first.settings.bit_depth,
        "threshold": first.threshold,
    }
    if sources.settings.roi is not None:
        about["roi_setting"] = sources.settings.roi
    setup = Setup(first.inspect_batch, thresholds, about, references, None if fixed else cut_to)
    return Loaded(first, setup)


def _category(calibrations: Mapping[str | None, Calibration], product: str | None) -> str | None:
    """Return the product, if its calibration has a threshold for it alone."""
    found = calibrations.get(product)
    return product if found is not None and product in found.by_category else None


@contextmanager
def _naming(sources: Sources, product: str | None) -> Iterator[None]:
    """Name the file in errors that say what is wrong with it."""
    try:
        yield
    except (CalibrationError, LearnError) as error:
        calibrated = isinstance(error, CalibrationError)
        files: Mapping[Any, Path] = sources.calibrations if calibrated else sources.references
        if product in files:
            raise type(error)(f"{files[product]}: {error}") from error
        raise


def _trial_photo() -> Image.Image:
    """Return a photo that is not flat."""
    noise = np.random.default_rng(0).integers(64, 192, (64, 64, 3))
    return Image.fromarray(noise.astype(np.uint8))
