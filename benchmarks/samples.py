"""What the benchmarks inspect: rendered surfaces, and real photos listed in a manifest."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flawsight.data.images import read_image
from flawsight.data.surfaces import render_twins


@dataclass(frozen=True)
class LabelledImage:
    """An image with its truth. `gt_mask` (H, W) is None where the pixels are not labelled."""

    image: Image.Image
    label: int
    gt_mask: NDArray[np.bool_] | None
    place: str | None = None
    defect: str | None = None


def rendered(families: Sequence[str], pairs: int, seed: int) -> Iterator[LabelledImage]:
    """Yield `pairs` twins of each family, of three aspects, at full difficulty."""
    rng = np.random.default_rng(seed)
    for index in range(pairs):
        for family in families:
            size = [(240, 240), (200, 300), (320, 180)][index % 3]
            for sample in render_twins(rng, size, family=family):
                yield LabelledImage(
                    Image.fromarray(sample.image),
                    sample.label,
                    sample.gt_mask,
                    sample.place,
                    sample.defect,
                )


def photographed(folder: Path) -> dict[str, Iterator[LabelledImage]]:
    """Return the test images of each data set in FOLDER/manifest.csv.

    The manifest has the columns path, mask, dataset, split ("test" or other) and label.
    """
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    datasets: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        datasets[row["dataset"]].append(row)
    return {name: _photos(folder, datasets[name]) for name in sorted(datasets)}


def _photos(folder: Path, rows: list[dict[str, str]]) -> Iterator[LabelledImage]:
    for row in rows:
        image = read_image(folder / row["path"])
        label = int(row["label"])
        gt_mask: NDArray[np.bool_] | None = None
        if row["mask"]:
            mask = Image.open(folder / row["mask"]).convert("L")
            if mask.size != image.size:
                raise SystemExit(f"{row['mask']} is {mask.size}, its image {image.size}.")
            gt_mask = np.asarray(mask) > 0
        elif label == 0:
            gt_mask = np.zeros((image.height, image.width), dtype=bool)
        yield LabelledImage(image, label, gt_mask)
