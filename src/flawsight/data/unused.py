"""The files in a data set's folder that are neither images nor masks of it, each with a reason."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DatasetError
from ..io.images import SUFFIXES
from .dataset import Dataset, Sample, UnusedFile
from .mask_pairs import unmarked
from .walk import MASK_FOLDERS, walk

# Files that accompany images and cannot be taken for one.
_DOCUMENTS = {
    ".cfg", ".csv", ".db", ".docx", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".log", ".md",
    ".pdf", ".py", ".rst", ".sh", ".toml", ".tsv", ".txt", ".xlsx", ".xml", ".yaml", ".yml",
}  # fmt: skip
_TITLES = {"AUTHORS", "CHANGELOG", "CITATION", "COPYING", "LICENCE", "LICENSE", "NOTICE", "README"}
# Folders of published layouts that are left out on purpose: images without labels.
_UNLABELLED = "inference"


def unused_files(root: Path, samples: Sequence[Sample]) -> tuple[UnusedFile, ...]:
    """Return all visible files below a folder that no sample names, links resolved."""
    masks = {mask for sample in samples for mask in sample.masks}
    used = {os.path.realpath(sample.image) for sample in samples}
    for mask in masks:
        used |= {os.path.realpath(file) for file in (walk(mask)[0] if mask.is_dir() else [mask])}
    return tuple(
        _why_unused(root, path) for path in walk(root)[0] if os.path.realpath(path) not in used
    )


def _why_unused(root: Path, path: Path) -> UnusedFile:
    suffix = path.suffix.lower()
    folders = path.relative_to(root).parts[:-1]
    if suffix in _DOCUMENTS or (not suffix and path.stem.upper() in _TITLES):
        return UnusedFile(path, "not read", "documents")
    if not path.exists():
        return UnusedFile(path, "left out", "a link to nothing")
    if suffix not in SUFFIXES:
        return UnusedFile(path, "left out", f"no suffix of an image: {suffix or path.name}")
    if _UNLABELLED in (folder.lower() for folder in folders):
        return UnusedFile(path, "not read", "images without labels")
    if MASK_FOLDERS & {folder.lower() for folder in folders}:
        return UnusedFile(path, "mask without image")
    if path.parent.name != "rgb" and (path.parent.parent / "rgb").is_dir():
        return UnusedFile(path, "not read", "other channels than rgb")
    if unmarked(path.stem) is not None:
        return UnusedFile(path, "mask without image")
    return UnusedFile(path, "left out", "in no folder that the layout names")


def with_labels(dataset: Dataset) -> Dataset:
    """Return a data set whose normal images have no masks; these become unused files.

    A mask that fits a defective image by its name, too, is that image's.
    """
    owned = {mask for s in dataset.samples if s.label == 1 for mask in s.masks}
    normal = [mask for s in dataset.samples if s.label == 0 for mask in s.masks]
    samples = tuple(
        replace(s, mask=None, more_masks=()) if s.label == 0 else s for s in dataset.samples
    )
    unused = [
        UnusedFile(mask, "mask of a normal image")
        for mask in dict.fromkeys(normal)
        if mask not in owned
    ]
    return replace(dataset, samples=samples, unused=(*dataset.unused, *unused))


def check_sharing(samples: Sequence[Sample]) -> None:
    """Check that no mask belongs to several defective images.

    Raises:
        DatasetError: naming the mask and two of its images.
    """
    owners: dict[Path, Path] = {}
    for sample in samples:
        for mask in sample.masks if sample.label == 1 else ():
            if (other := owners.setdefault(mask, sample.image)) != sample.image:
                raise DatasetError(
                    f"{mask} may be the mask of {other} or of {sample.image}. Sort the masks into "
                    "the same folders as the images, or rename them."
                )


def left_out(dataset: Dataset) -> Iterator[UnusedFile]:
    """Yield the unused files that may be missing from the data set by mistake."""
    return (f for f in dataset.unused if f.kind in ("left out", "mask without image"))


def left_out_line(dataset: Dataset) -> str | None:
    """Return a sentence on the files that may be left out by mistake; None if there are none."""
    files = list(left_out(dataset))
    if not files:
        return None
    first = f"{files[0].path} ({files[0].reason or files[0].kind})"
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return (
        f"{dataset.name}: neither image nor mask: {first}{more}; `flawsight data check` names all."
    )
