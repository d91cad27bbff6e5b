"""Readers of data sets, one per layout of folders and files.

A reader takes the absolute path of the root folder and returns its samples, or None if the layout
is another one. Masks are matched to images by name, never by order.
"""

import csv
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from .coco_annotations import read_coco
from .dataset import Sample
from .mask_pairs import MaskFinder as MaskFinder
from .mask_pairs import pair_masks
from .masks import read_mask_file
from .walk import MASK_FOLDERS, folders_of

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


def read_mvtec(root: Path) -> list[Sample] | None:
    """Read `[CATEGORY/]{train,validation,test}/CLASS/**`, masks in `ground_truth/CLASS/`.

    The class "good" (or "ok", "normal") is normal, every other one defective. Without category
    folders, the category is the root's name. As in MVTec 3D-AD, a class may instead have its
    images in `CLASS/rgb/` and its masks in `CLASS/gt/`.

    Raises:
        DatasetError: if masks are ambiguous, or a category is empty.
    """
    if _split_folders(root):
        return _read_category(root)
    parts = {f: _read_category(f) for f in folders_of(root) if _split_folders(f)}
    if not parts:
        return None
    return [sample for samples in parts.values() for sample in samples]


def _read_category(folder: Path) -> list[Sample]:
    samples = []
    splits = _split_folders(folder)
    names = {f.name.lower() for split in splits for f in folders_of(split)} - MASK_FOLDERS
    for split_folder in splits:
        masks = [*_mask_folders(folder), *_mask_folders(split_folder)]
        for class_folder in folders_of(split_folder):
            if class_folder in masks:
                continue
            name = class_folder.name
            label = int(name.lower() not in NORMAL)
            split = SPLITS[split_folder.name.lower()]
            if (class_folder / "rgb").is_dir():
                images, of_class = class_folder / "rgb", [class_folder / "gt"]
            else:
                images = class_folder
                of_class = [_child(_child(f, split_folder.name) or f, name) or f for f in masks]
            samples += _read_class(images, of_class, label, folder.name, split, name, names)
    if not samples:
        raise DatasetError(
            f"The category {folder.name} is empty: expected images in {folder}/test/CLASS/, like "
            "test/good/000.png and test/crack/000.png."
        )
    return samples


def _read_class(
    images: Path,
    masks: Sequence[Path],
    label: int,
    category: str,
    split: str,
    name: str,
    classes: Collection[str],
) -> list[Sample]:
    """Return the images below a folder as samples of one class, with their masks."""
    contrary = set(SPLITS) | (NORMAL if label else DEFECTIVE)
    samples = []
    for image, found in pair_masks(images, masks, classes):
        inner = image.relative_to(images).parts[:-1]
        if wrong := next((part for part in inner if part.lower() in contrary), None):
            raise DatasetError(
                f"{image} lies in a folder {wrong} inside of {images}, which is "
                f"{'defective' if label else 'normal'} and {split}. Move or rename the folder."
            )
        mask, more = (found[0], found[1:]) if found else (None, ())
        kind = name if label else "good"
        samples.append(Sample(image, label, category, split, kind, mask, more_masks=more))
    return samples


def read_good_bad(root: Path) -> list[Sample] | None:
    """Read a folder of normal and a folder of defective images, with the split "test".

    Masks may be in `ground_truth/FOLDER/` or `ground_truth/`.
    """
    kinds = {
        folder: int(folder.name.lower() in DEFECTIVE)
        for folder in folders_of(root)
        if folder.name.lower() in NORMAL | DEFECTIVE
    }
    if set(kinds.values()) != {0, 1}:
        return None
    names = {folder.name.lower() for folder in kinds}
    samples = []
    for folder, label in kinds.items():
        masks = [_child(f, folder.name) or f for f in _mask_folders(root)]
        samples += _read_class(folder, masks, label, root.name, "test", folder.name, names)
    return samples


def read_visa(root: Path) -> list[Sample] | None:
    """Read VisA: `split_csv/1cls.csv`, images in `CATEGORY/Data/Images/{Normal,Anomaly}`.

    Raises:
        DatasetError: if the table has other columns, or names missing files.
    """
    table = root / "split_csv" / "1cls.csv"
    if not table.is_file():
        if any((folder / "Data" / "Images").is_dir() for folder in folders_of(root)):
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
        mask = root / row["mask"] if row["mask"] else None
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
    for folder in folders_of(root):
        if not folder.name.lower().startswith("kos"):
            continue
        for image, found in pair_masks(folder, ()):
            if not found:
                raise DatasetError(
                    f"{image} has no {image.stem}_label.bmp; in KolektorSDD every image "
                    "has one. Unpack the published archive whole."
                )
            defective = any(read_mask_file(mask).any() for mask in found)
            label, name = (1, "defect") if defective else (0, "good")
            samples.append(
                Sample(image, label, "commutator", "test", name, found[0], more_masks=found[1:])
            )
    return samples or None


def read_vision(root: Path) -> list[Sample] | None:
    """Read VISION: `PRODUCT/{train,val}/_annotations.coco.json` with its images in the same folder.

    An image without annotations is normal. The folders `inference` have no labels and are not read.

    Raises:
        DatasetError: if the annotations are damaged or name missing files.
    """
    splits = [split for product in [root, *folders_of(root)] for split in _split_folders(product)]
    tables = {split / "_annotations.coco.json": split for split in splits}
    samples = []
    for table, split in tables.items():
        if table.is_file():
            samples += read_coco(table, split.parent.name, SPLITS[split.name.lower()])
            check_files(table, samples)
    return samples or None


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
    missing = [s.image for s in samples if not s.image.is_file()]
    missing += [mask for s in samples for mask in s.masks if not mask.exists()]
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
    return [child for child in folders_of(folder) if child.name.lower() in SPLITS]


def _mask_folders(folder: Path) -> list[Path]:
    return [child for child in folders_of(folder) if child.name.lower() in MASK_FOLDERS]


def _child(folder: Path, name: str) -> Path | None:
    """Return the folder of a name, in any case, directly in another."""
    return next((f for f in folders_of(folder) if f.name.lower() == name.lower()), None)
