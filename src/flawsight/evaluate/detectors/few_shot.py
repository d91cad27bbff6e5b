"""flawsight with good photos of each product, drawn from train/good: `flawsight:reference=16`."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from ...data.dataset import Dataset
from ...errors import DatasetError, FlawsightError, ImageError
from ...inspector import Inspector
from ...io.file_stamp import FileStamp
from ...mllm.load import MLLM
from ...mllm.prompt_photos import hash_prompt_photos
from ...reference.learn import reference_of
from ...reference.memory import Reference
from ...reference.verdict import threshold_of
from ...refine.attention_prior import AttentionPrior
from ...runs.trace_store import TraceFolder
from ...settings import Settings
from .compared_traces import ComparedTraces, SharedFeatures
from .flawsight import FlawsightDetector
from .protocol import Detector, Prediction

GoodPhotos = Mapping[str, Sequence[Path]]


def good_photos(dataset: Dataset) -> dict[str, tuple[Path, ...]]:
    """Return the normal training images of each category; of some there may be none."""
    return {
        category: tuple(
            sample.image
            for sample in dataset.samples
            if (sample.category, sample.split, sample.label) == (category, "train", 0)
        )
        for category in dataset.categories
    }


def check_good(dataset: Dataset, good: GoodPhotos) -> None:
    """Make sure that each category of the images to be inspected has photos to learn from.

    Raises:
        DatasetError: naming those that have none, or if the photos would be inspected themselves.
    """
    if without := [name for name in dataset.categories if not good.get(name)]:
        raise DatasetError(
            f"{dataset.name} has no good photos in train/good of {', '.join(without[:3])}"
            f"{', …' if len(without) > 3 else ''}; reference=… learns from those. Move some of the "
            "good photos there."
        )
    inspected = {sample.image for sample in dataset.samples}
    if any(inspected & {*photos} for photos in good.values()):
        raise DatasetError(
            f"Photos of {dataset.name} that a reference learns from must not be inspected with it; "
            "choose --split test."
        )


def draw(photos: Sequence[Path], count: int | None, seed: int) -> list[Path]:
    """Return `count` of the photos at random, in their order; all for None or too few of them."""
    if count is None or count >= len(photos):
        return list(photos)
    chosen = np.random.default_rng(seed).choice(len(photos), count, replace=False)
    return [photos[index] for index in sorted(chosen)]


class FlawsightLearner:
    """Learns from good photos of each category of a data set, and then is its detector.

    Args:
        name: in tables.
        mllm: the model.
        settings: of the inspections.
        batch_size: images at once.
        prior: the model's attention prior, or None.
        features: of the model, shared by all learners.
        traces: folder of traces.
        count: good photos of each category; None takes all.
        seed: of the draw.
        prompt_photos: see `Inspector`.
    """

    def __init__(
        self,
        name: str,
        mllm: MLLM,
        settings: Settings,
        batch_size: int,
        prior: AttentionPrior | None,
        features: SharedFeatures,
        traces: Path,
        count: int | None,
        seed: int,
        prompt_photos: Sequence[Image] = (),
    ) -> None:
        self.name, self.count = name, count
        self._mllm, self._settings, self._batch_size = mllm, settings, batch_size
        self._prior, self._features, self._seed = prior, features, seed
        self._prompt_photos = prompt_photos
        self._words = TraceFolder(
            traces, mllm, replace(settings, explain="always"), prior, None,
            hash_prompt_photos(prompt_photos),
        )  # fmt: skip

    def learned(self, dataset: Dataset, good: GoodPhotos) -> Detector:
        """Return the detector of a data set.

        Args:
            dataset: whose images are to be inspected.
            good: photos to draw from, by category.

        Raises:
            DatasetError: see `check_good`.
            FlawsightError: if a drawn photo cannot be read or used.
        """
        check_good(dataset, good)
        detectors = {
            category: self._detector(draw(good[category], self.count, self._seed), dataset.root)
            for category in dataset.categories
        }
        categories = {sample.image: sample.category for sample in dataset.samples}
        wanted = {"photos": "all" if self.count is None else self.count, "seed": self._seed}
        return _ByCategory(self.name, self._batch_size, detectors, categories, wanted)

    def _detector(
        self, photos: Sequence[Path], root: Path
    ) -> "tuple[FlawsightDetector, Reference]":
        vectors, pictures = [], {}
        for photo in photos:
            try:
                stamp = FileStamp.of_file(photo)
            except OSError as error:
                raise ImageError(f"Cannot read {photo}: {error.strerror or error}.") from error
            vectors.append(self._features.read(str(photo), stamp)[0])
            pictures[os.path.relpath(photo, root)] = self._features.picture(str(photo))
        reference = reference_of(self._mllm, self._settings, pictures, vectors)
        threshold = threshold_of(self._settings, reference, None, None)
        store = ComparedTraces(
            self._features, reference, threshold, self._settings.explain, self._words
        )
        inspector = Inspector(
            self._mllm, self._settings, self._batch_size, prior=self._prior, reference=reference,
            trace_store=store, prompt_photos=self._prompt_photos,
        )  # fmt: skip
        return FlawsightDetector(self.name, inspector), reference


class _ByCategory:
    """A detector with a reference for each category; see `FlawsightLearner`."""

    def __init__(
        self,
        name: str,
        batch_size: int,
        detectors: "dict[str, tuple[FlawsightDetector, Reference]]",
        categories: Mapping[Path, str],
        wanted: dict[str, Any],
    ) -> None:
        self.name, self.batch_size = name, batch_size
        self._detectors, self._categories, self._wanted = detectors, categories, wanted

    def about(self) -> dict[str, Any]:
        """Return the model and settings, and of each category the reference with its threshold."""
        found = {category: detector.about() for category, (detector, _) in self._detectors.items()}
        about = dict(next(iter(found.values())))
        references = {
            category: {
                "photos": len(reference.photos),
                "sha256": reference.sha256,
                "threshold": found[category]["threshold"],
                "promised": reference.lowest_rate if reference.scores else None,
            }
            for category, (_, reference) in self._detectors.items()
        }
        if len(found) > 1:
            # One number cannot say it; without a threshold, nothing is relabelled by it.
            del about["threshold"], about["good_pictures"]
            hashes = "".join(one["sha256"] for one in references.values())
            about["reference_sha256"] = hashlib.sha256(hashes.encode()).hexdigest()
        return about | {"drawn": self._wanted, "references": references}

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Inspect a batch of images, each with the reference of its category.

        Raises:
            ModelError: if the model is at fault.
        """
        found: dict[Path, Prediction | FlawsightError] = {}
        for category, (detector, _) in self._detectors.items():
            own = [image for image in images if self._categories[image] == category]
            if own:
                found |= zip(own, detector.predict(own), strict=True)
        return [found[image] for image in images]
