"""Readers of data sets, one per layout of folders and files.

A reader takes the absolute path of the root folder and returns its samples, or None if the layout
is another one. Masks are matched to images by name, never by order.
"""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from ..io.images import SUFFIXES
from .dataset import Polygon, Sample
from .masks import read_mask_file

Reader = Callable[[Path], list[Sample] | None]

NORMAL = {"good", "ok", "normal"}
DEFECTIVE = {"bad", "defective", "defect", "anomaly", "abnormal", "anomalous", "ng"}
SPLITS = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
_MASK_ENDINGS = ("", "_mask", "_label")


def read_mvtec(root: Path) -> list[Sample] | None:
    """Read `[CATEGORY/]{train,validation,test}/CLASS/*`, masks in `ground_truth/CLASS/`.

    The class "good" (or "ok", "normal") is normal, every other one defective. Without category
    folders, the category is the root's name. As in MVTec 3D-AD, a class may instead have its
    images in `CLASS/rgb/` and its masks in `CLASS/gt/`.

    Raises:
        DatasetError: if masks are ambiguous, or a category is empty.
    """
    if _split_folders(root):
        return _read_category(root)
    parts = {folder: _read_category(folder) for folder in _folders(root) if _split_folders(folder)}
    if not parts:
        return None
    return [sample for samples in parts.values() for sample in samples]


def _read_category(folder: Path) -> list[Sample]:
    samples = []
    for split_folder in _split_folders(folder):
        for class_folder in _folders(split_folder):
            name = class_folder.name
            images, masks = class_folder, folder / "ground_truth" / name
            if (class_folder / "rgb").is_dir():
                images, masks = class_folder / "rgb", class_folder / "gt"
            label = int(name.lower() not in NORMAL)
            split = SPLITS[split_folder.name.lower()]
            samples += _read_class(images, masks, label, folder.name, split, name)
    if not samples:
        raise DatasetError(
            f"The category {folder.name} is empty: expected images in {folder}/test/CLASS/, like "
            "test/good/000.png and test/crack/000.png."
        )
    return samples


def _read_class(
    images: Path, masks: Path, label: int, category: str, split: str, name: str
) -> list[Sample]:
    """Return the images of a folder as samples of one class, with their masks if defective."""
    if label == 0:
        return [Sample(image, 0, category, split, "good") for image in _images(images)]
    finder = MaskFinder(masks)
    return [
        Sample(image, 1, category, split, name, finder.find(image)) for image in _images(images)
    ]


def read_good_bad(root: Path) -> list[Sample] | None:
    """Read a folder of normal and a folder of defective images, with the split "test".

    Masks may be in `ground_truth/FOLDER/` or `ground_truth/`.
    """
    kinds = {
        folder: int(folder.name.lower() in DEFECTIVE)
        for folder in _folders(root)
        if folder.name.lower() in NORMAL | DEFECTIVE
    }
    if set(kinds.values()) != {0, 1}:
        return None
    samples = []
    for folder, label in kinds.items():
        masks = root / "ground_truth" / folder.name
        masks = masks if masks.is_dir() else masks.parent
        samples += _read_class(folder, masks, label, root.name, "test", folder.name)
    return samples


def read_visa(root: Path) -> list[Sample] | None:
    """Read VisA: `split_csv/1cls.csv`, images in `CATEGORY/Data/Images/{Normal,Anomaly}`.

    Raises:
        DatasetError: if the table has other columns, or names missing files.
    """
    table = root / "split_csv" / "1cls.csv"
    if not table.is_file():
        if any((folder / "Data" / "Images").is_dir() for folder in _folders(root)):
            raise DatasetError(
                f"{root} looks like VisA, but has no split_csv/1cls.csv with the split into "
                "train and test. Unpack the published archive whole."
            )
        return None
    rows = read_table(table)
    wanted = {"object", "split", "label", "image", "mask"}
    if not rows or not wanted <= set(rows[0]):
        found = ", ".join(rows[0]) if rows else "no rows"
        raise DatasetError(f"{table} must have columns {', '.join(sorted(wanted))}; found {found}.")
    samples = []
    for row in rows:
        label = int(row["label"].strip().lower() not in NORMAL)
        mask = root / row["mask"] if label and row["mask"] else None
        split = SPLITS.get(row["split"].strip().lower(), row["split"])
        name = "bad" if label else "good"
        samples.append(Sample(root / row["image"], label, row["object"], split, name, mask))
    check_files(table, samples)
    return samples


def read_kolektor(root: Path) -> list[Sample] | None:
    """Read KolektorSDD: `kosNN/PartM.jpg`, defective if `PartM_label.bmp` has a pixel above 0.

    The set has no split; all images are "test".

    Raises:
        DatasetError: if a label is missing or unreadable: the class is then unknown.
    """
    samples = []
    for folder in _folders(root):
        if not folder.name.lower().startswith("kos"):
            continue
        masks = MaskFinder(folder)
        for image in _images(folder):
            if image.stem.endswith("_label"):
                continue
            mask = masks.find(image)
            if mask is None:
                raise DatasetError(
                    f"{image} has no {image.stem}_label.bmp; in KolektorSDD every image "
                    "has one. Unpack the published archive whole."
                )
            label, name = (1, "defect") if read_mask_file(mask).any() else (0, "good")
            samples.append(
                Sample(image, label, "commutator", "test", name, mask if label else None)
            )
    return samples or None


def read_vision(root: Path) -> list[Sample] | None:
    """Read VISION: `PRODUCT/{train,val}/_annotations.coco.json` with its images in the same folder.

    An image without annotations is normal. The folders `inference` have no labels and are not read.

    Raises:
        DatasetError: if the annotations are damaged or name missing files.
    """
    tables = [
        split / "_annotations.coco.json"
        for product in [root, *_folders(root)]
        for split in _split_folders(product)
    ]
    found = [table for table in tables if table.is_file()]
    return [sample for table in found for sample in _read_coco(table)] if found else None


def _read_coco(table: Path) -> list[Sample]:
    category, split = table.parent.parent.name, SPLITS[table.parent.name.lower()]
    try:
        coco: dict[str, Any] = json.loads(table.read_text(encoding="utf-8"))
        names = {entry["id"]: entry["name"] for entry in coco["categories"]}
        defects: dict[int, list[dict[str, Any]]] = {}
        for annotation in coco["annotations"]:
            defects.setdefault(annotation["image_id"], []).append(annotation)
        samples = []
        for entry in coco["images"]:
            held = defects.get(entry["id"], [])
            outlines = [_polygons(annotation) for annotation in held]
            kinds = sorted({names[annotation["category_id"]] for annotation in held})
            # If one defect has no outline, the defective pixels are unknown.
            polygons = tuple(chain.from_iterable(outlines)) if all(outlines) else ()
            image, name = table.parent / entry["file_name"], "+".join(kinds) or "good"
            samples.append(Sample(image, int(bool(held)), category, split, name, polygons=polygons))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{table} is not COCO with images, annotations and categories: {error!r}"
        ) from error
    check_files(table, samples)
    return samples


def _polygons(annotation: dict[str, Any]) -> list[Polygon]:
    outlines = annotation.get("segmentation") or []
    if not isinstance(outlines, list):  # run lengths
        return []
    return [
        tuple((float(x), float(y)) for x, y in zip(flat[::2], flat[1::2], strict=True))
        for flat in outlines
        if len(flat) >= 6
    ]


class MaskFinder:
    """The masks in a folder, found by the name of their image.

    000.png has the mask 000.*, 000_mask.* or 000_label.*, with any suffix of an image.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._masks: dict[str, list[Path]] = {}
        for path in _images(folder):
            self._masks.setdefault(path.stem, []).append(path)

    def find(self, image: Path) -> Path | None:
        """Return the mask of an image, or None.

        Raises:
            DatasetError: if several files match.
        """
        hits = [
            path
            for ending in _MASK_ENDINGS
            for path in self._masks.get(image.stem + ending, [])
            if path != image
        ]
        if len(hits) > 1:
            names = " and ".join(path.name for path in hits)
            raise DatasetError(
                f"{image} has several masks in {self.folder}: {names}. Leave only one of them."
            )
        return hits[0] if hits else None


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV with a header.

    Raises:
        DatasetError: if it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"Cannot read {path} as CSV: {error}") from error


def check_files(source: Path, samples: Iterable[Sample]) -> None:
    """Check that every file that a list names exists.

    Raises:
        DatasetError: naming the first few missing files.
    """
    named = [path for s in samples for path in (s.image, s.mask) if path is not None]
    missing = [path for path in named if not path.is_file()]
    if missing:
        first = ", ".join(str(path) for path in missing[:3])
        raise DatasetError(
            f"{source} names missing files, {len(missing)} in all: "
            f"{first}{', …' * (len(missing) > 3)}. Paths are relative to the data set's folder."
        )


def sort_samples(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return samples sorted by category, split, class and name."""
    return tuple(sorted(samples, key=lambda s: (s.category, s.split, s.class_name, str(s.image))))


def _split_folders(folder: Path) -> list[Path]:
    return [child for child in _folders(folder) if child.name.lower() in SPLITS]


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _images(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _visible(folder: Path) -> list[Path]:
    """Return the content of a folder, sorted, without hidden files; nothing if there is none."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
