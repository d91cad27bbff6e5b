"""The paper's training images: about 4,000 from several data sets, half of them defective."""

import hashlib
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DatasetError
from .dataset import Dataset, Sample

# The products of the paper's test sets; no training image may show one.
TEST_PRODUCTS: dict[str, tuple[str, ...]] = {
    "MVTec-AD": (
        "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut",
        "pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper",
    ),
    "KolektorSDD": ("commutator",),
    "DTD-Synthetic": (
        "Blotchy_099", "Fibrous_183", "Marbled_078", "Matted_069", "Mesh_114", "Perforated_037",
        "Stratified_154", "Woven_001", "Woven_068", "Woven_104", "Woven_125", "Woven_127",
    ),
    "WFDD": ("grey_cloth", "grid_cloth", "pink_flower", "yellow_cloth"),
}  # fmt: skip


@dataclass(frozen=True)
class MixedSample:
    """A training image and its data set."""

    dataset: str
    sample: Sample

    def to_json(self) -> dict[str, Any]:
        """Return the row of a list: the image-level label, with an absolute path."""
        return {
            "path": str(self.sample.image.absolute()),
            "label": self.sample.label,
            "category": self.sample.category,
            "split": "train",
            "dataset": self.dataset,
        }


@dataclass(frozen=True)
class SharedProduct:
    """A category of a training set that equals or resembles a product of a test set.

    Attributes:
        dataset, category: in the training set.
        test_dataset, test_category: in the test set.
        excluded: True if the names are the same product; False if only their last word is the same
            ("drink_bottle" and "bottle"). Such a category stays in the mix, for a person to judge.
    """

    dataset: str
    category: str
    test_dataset: str
    test_category: str
    excluded: bool


def product_words(category: str) -> tuple[str, ...]:
    """Return the words of a product's name, lower case, singular, without numbers.

    "Capsules", "capsule" and "capsule2" are one product; so are "PCB_1" and "pcb4".
    """
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", category)
    words = re.findall(r"[a-z]+", spaced.lower())
    return tuple(_singular(word) for word in words)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def shared_products(
    datasets: Sequence[Dataset], test_datasets: Sequence[Dataset] = ()
) -> list[SharedProduct]:
    """Return the categories whose name equals or resembles that of a product of the test sets.

    The test sets are `TEST_PRODUCTS` and `test_datasets`.
    """
    tested = {name: list(products) for name, products in TEST_PRODUCTS.items()}
    for test_dataset in test_datasets:
        tested.setdefault(test_dataset.name, []).extend(test_dataset.categories)
    found = []
    for dataset in datasets:
        for category in dataset.categories:
            words = product_words(category)
            hits = [
                SharedProduct(
                    dataset.name, category, name, product, product_words(product) == words
                )
                for name, products in tested.items()
                for product in dict.fromkeys(products)
                if words and product_words(product)[-1:] == words[-1:]
            ]
            found += [hit for hit in hits if hit.excluded][:1] or hits[:1]
    return found


def training_mix(
    datasets: Sequence[Dataset],
    images: int = 4000,
    seed: int = 0,
    *,
    without: AbstractSet[Path] = frozenset(),
    test_datasets: Sequence[Dataset] = (),
) -> list[MixedSample]:
    """Draw as many normal as defective images, evenly over data sets, then over categories.

    Images of all splits are drawn. If a data set or category has too few images of a label, the
    others give more. The images drawn from a category depend on the seed, its name and their
    number, not on the other data sets. Categories that `shared_products` excludes give none. The
    mix is smaller than `images` if there are too few of one label.

    Args:
        datasets: for training.
        images: total number, at least 2; if odd, with one more normal than defective.
        seed: of the draw.
        without: images to leave out.
        test_datasets: their products are excluded too.

    Raises:
        DatasetError: if there is no normal or no defective image left.
    """
    excluded = {
        (shared.dataset, shared.category)
        for shared in shared_products(datasets, test_datasets)
        if shared.excluded
    }
    groups: dict[int, dict[str, dict[str, list[Sample]]]] = {0: {}, 1: {}}
    for dataset in datasets:
        for sample in dataset.samples:
            if (dataset.name, sample.category) in excluded or sample.image in without:
                continue
            of_dataset = groups[sample.label].setdefault(dataset.name, {})
            of_dataset.setdefault(sample.category, []).append(sample)
    held = [sum(len(c) for d in groups[label].values() for c in d.values()) for label in (0, 1)]
    if min(held) == 0:
        left_out = f" without the products of the test sets ({len(excluded)} categories)"
        raise DatasetError(
            f"A mix needs normal and defective images; {', '.join(d.name for d in datasets)} "
            f"give {held[0]} normal and {held[1]} defective ones{left_out if excluded else ''}."
        )
    defective = min(images // 2, *held)
    normal = min(images - images // 2, held[0], defective + images % 2)
    chosen: list[MixedSample] = []
    for label, total in ((0, normal), (1, defective)):
        of_label = groups[label]
        sizes = {name: sum(map(len, of_label[name].values())) for name in of_label}
        for name, share in fair_shares(sizes, total).items():
            counts = fair_shares({c: len(samples) for c, samples in of_label[name].items()}, share)
            for category, count in counts.items():
                stream = f"{seed}/{name}/{category}/{label}"
                drawn = _draw(of_label[name][category], count, stream)
                chosen += [MixedSample(name, sample) for sample in drawn]
    return sorted(chosen, key=lambda m: (m.dataset, m.sample.category, str(m.sample.image)))


def fair_shares(sizes: dict[str, int], total: int) -> dict[str, int]:
    """Split a total into shares as equal as the sizes allow; the smaller ones get the remainder.

    Each share is at most its size, and the total at most the sum of the sizes.
    """
    shares = {}
    # The smallest first: the larger ones make up for it.
    order = sorted(sizes, key=lambda name: (sizes[name], name))
    for done, name in enumerate(order):
        shares[name] = min(sizes[name], -(-total // (len(order) - done)))
        total -= shares[name]
    return shares


def _draw(samples: list[Sample], count: int, stream: str) -> list[Sample]:
    entropy = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "big")
    order = np.random.default_rng(entropy).permutation(len(samples))
    return [samples[index] for index in sorted(order[:count])]


def _file_hash(image: Path) -> bytes:
    try:
        with image.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()[:16]
    except OSError as error:
        raise DatasetError(f"Cannot read {image}: {error}") from error


def training_mix_apart(
    datasets: Sequence[Dataset], images: int, seed: int, tested: Sequence[Dataset]
) -> tuple[list[MixedSample], int]:
    """Mix without any file whose bytes the test data hold too; return how many those are.

    Raises:
        DatasetError: as `training_mix`, or if a file cannot be read.
    """
    forbidden = {_file_hash(sample.image) for dataset in tested for sample in dataset.samples}
    hash_of = cache(_file_hash)
    copies: set[Path] = set()
    while True:
        chosen = training_mix(datasets, images, seed, without=copies, test_datasets=tested)
        drawn = [mixed.sample.image for mixed in chosen] if forbidden else []
        found = {image for image in drawn if hash_of(image) in forbidden}
        if not found:
            return chosen, len(copies)
        copies |= found
