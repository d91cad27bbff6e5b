"""Everything below a folder, links followed."""

import os
from collections.abc import Collection
from pathlib import Path

from ..errors import DatasetError
from ..io.images import SUFFIXES

# Folders of masks, in any case.
MASK_FOLDERS = frozenset(
    ("ground_truth", "groundtruth", "ground-truth", "gt", "mask", "masks", "labels", "annotations")
)


def walk(folder: Path, skip: Collection[str] = ()) -> tuple[list[Path], list[Path]]:
    """Return the sorted files below a folder, and the folders that were not entered.

    Links to folders are followed, but not to folders above; each real folder is entered once.
    Hidden files and folders are left out. Broken links are returned.

    Args:
        folder: may not exist.
        skip: names of folders not to enter, lower case.

    Raises:
        DatasetError: if a folder cannot be listed.
    """
    files: list[Path] = []
    skipped: list[Path] = []
    seen = {str(parent) for parent in folder.resolve().parents}
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        skipped += [Path(parent, name) for name in folders if name.lower() in skip]
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name.lower() not in skip
        )
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(files), sorted(skipped)


def is_image_file(path: Path) -> bool:
    """Whether a file exists and has the suffix of an image."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def folders_of(folder: Path) -> list[Path]:
    """Return the visible folders directly in a folder, sorted; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise DatasetError(f"Cannot list {error.filename}: {error.strerror}.") from error
