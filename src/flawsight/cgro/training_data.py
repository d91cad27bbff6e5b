"""Names of data sets → labelled images to train on and to validate with, checked at the start.

Only labels are used. Masks and texts of a data set are never read.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.dataset import Sample
from ..data.open import open_datasets
from ..data.unused import left_out_line
from ..errors import DatasetError, FlawsightError
from ..io.images import read_photo

_CLASSES = {False: "normal", True: "defective"}
_SHOWN = 20


def seed_of(*parts: int | str) -> int:
    """Return a seed below 2⁵⁶ for one purpose, unlike those for other purposes."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


@dataclass(frozen=True)
class LabelledImage:
    """An image file and its label y, True for defective."""

    path: Path
    label: bool


@dataclass(frozen=True)
class TrainingData:
    """Images to train on and to validate with, both of both classes; no image is in both.

    `notes` say which files of the data sets are left out.
    """

    train: tuple[LabelledImage, ...]
    validation: tuple[LabelledImage, ...]
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    def balance(self) -> dict[str, dict[str, int]]:
        """Return the number of images by part and class."""
        return {
            part: {word: len(_of_class(images, y)) for y, word in _CLASSES.items()}
            for part, images in (("train", self.train), ("validation", self.validation))
        }


def read_training_data(
    specs: Sequence[str], validation: Sequence[str], share: float, limit: int, seed: int
) -> TrainingData:
    """Open data sets and split them into training and validation images.

    If a data set marks images for training, only those are trained on, and its validation images
    are used for validation. Otherwise all of its images are trained on. Without any validation
    images, a share of each class is kept for validation.

    Args:
        specs: see `open_datasets`.
        validation: the same, of data sets to validate with; all their images are used.
        share: kept for validation if there are no other images for it, in [0, 1).
        limit: maximum number of validation images, half of each class if there are enough.
        seed: of the split.

    Raises:
        DatasetError: if there are no images, or one of the classes is missing.
    """
    train: list[Sample] = []
    kept: list[Sample] = []
    notes: list[str | None] = []
    for spec in specs:
        for dataset in open_datasets(spec):
            notes.append(left_out_line(dataset))
            samples = dataset.samples
            splits = {sample.split for sample in samples}
            split = next(name for name in ("train", "test", "validation") if name in splits)
            chosen = [sample for sample in samples if sample.split == split]
            _check_classes(chosen, f"{spec}, of which the split {split} is taken,")
            train += chosen
            if split == "train" and not validation:
                kept += [sample for sample in samples if sample.split == "validation"]
    for spec in validation:
        for dataset in open_datasets(spec):
            notes.append(left_out_line(dataset))
            kept += dataset.samples
    images = _labelled(train)
    held_out = _labelled(kept)
    if not held_out:
        held_out = [
            image for label in _CLASSES for image in _drawn(_of_class(images, label), share, seed)
        ]
    apart = {image.path for image in held_out}
    images = [image for image in images if image.path not in apart]
    for part, name in ((images, "training"), (held_out, "validation")):
        if missing := " and ".join(word for y, word in _CLASSES.items() if not _of_class(part, y)):
            raise DatasetError(
                f"No {missing} images are left for {name}. Add images, give others with "
                "--validation, or change validation_share."
            )
    said = tuple(note for note in notes if note is not None)
    return TrainingData(tuple(images), tuple(_limited(held_out, limit, seed)), notes=said)


def _labelled(samples: Sequence[Sample]) -> list[LabelledImage]:
    """Drop repetitions, and refuse a file that is listed as both normal and defective."""
    found: dict[Path, LabelledImage] = {}
    for sample in samples:
        image = LabelledImage(sample.image, bool(sample.label))
        if found.setdefault(sample.image, image) != image:
            raise DatasetError(f"{sample.image} is listed both as normal and as defective.")
    return list(found.values())


def _of_class(images: Sequence[LabelledImage], label: bool) -> list[LabelledImage]:
    return [image for image in images if image.label == label]


def _drawn(images: list[LabelledImage], share: float, seed: int) -> list[LabelledImage]:
    count = max(1, round(share * len(images))) if share and len(images) > 1 else 0
    return random.Random(seed).sample(images, count)


def _limited(images: list[LabelledImage], limit: int, seed: int) -> list[LabelledImage]:
    classes = [_of_class(images, label) for label in _CLASSES]
    half = max(1, limit // 2)
    sizes = [
        min(len(own), max(half, limit - len(other))) for own, other in (classes, reversed(classes))
    ]
    return [
        image
        for own, size in zip(classes, sizes, strict=True)
        for image in random.Random(seed).sample(own, size)
    ]


def _check_classes(samples: Sequence[Sample], what: str) -> None:
    counts = Counter(sample.label for sample in samples)
    for label, word in _CLASSES.items():
        if not counts[label]:
            raise DatasetError(
                f"{what} has {counts[not label]} {_CLASSES[not label]} images and no {word} one. "
                "Training needs both: folders good/ and bad/, or train/good/ and train/CLASS/, or "
                "a list with the labels 0 and 1."
            )


def check_readable(
    images: Sequence[LabelledImage],
    on_image: Callable[[], None] = lambda: None,
    bit_depth: int | None = None,
) -> list[str]:
    """Decode every image once, so that none fails late in a training; return their warnings.

    Raises:
        DatasetError: listing the images that cannot be read, or show one flat colour.
    """

    def look(image: LabelledImage) -> tuple[str | None, str | None]:
        try:
            said = read_photo(image.path, bit_depth).warnings
        except FlawsightError as error:
            return str(error), None
        return None, f"{image.path}: {' '.join(said)}" if said else None

    complaints, warnings = [], []
    with ThreadPoolExecutor() as pool:
        for complaint, warning in pool.map(look, images):
            complaints += [complaint] if complaint else []
            warnings += [warning] if warning else []
            on_image()
    if complaints:
        more = len(complaints) - _SHOWN
        raise DatasetError(
            f"{len(complaints)} of {len(images)} images cannot be read; remove or repair them:\n"
            + "\n".join(complaints[:_SHOWN])
            + (f"\n… and {more} more" if more > 0 else "")
        )
    return warnings


class Order:
    """The image of each draw, a function of the seed and the number of the draw alone.

    The classes take turns in proportion to their shares. Each class is shuffled again in each of
    its epochs.

    Args:
        images: normal and defective ones.
        defective_share: in (0, 1); None takes the share among the images.
        seed: of the shuffling.
    """

    def __init__(
        self, images: Sequence[LabelledImage], defective_share: float | None, seed: int
    ) -> None:
        self._classes = {label: _of_class(images, label) for label in _CLASSES}
        self._share = (
            len(self._classes[True]) / len(images) if defective_share is None else defective_share
        )
        self._seed = seed
        self._epochs: dict[tuple[bool, int], list[int]] = {}

    def __getitem__(self, draw: int) -> LabelledImage:
        """Return the image of a draw, counted from 0."""
        defective_before = int(draw * self._share)
        label = int((draw + 1) * self._share) > defective_before
        turn = defective_before if label else draw - defective_before
        images = self._classes[label]
        epoch, place = divmod(turn, len(images))
        if (label, epoch) not in self._epochs:
            generator = np.random.default_rng(seed_of(self._seed, "order", int(label), epoch))
            self._epochs[label, epoch] = generator.permutation(len(images)).tolist()
        return images[self._epochs[label, epoch][place]]
