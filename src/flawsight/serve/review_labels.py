"""Reviewed inspections → an image-level data set: OUT/good and OUT/bad."""

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from ..errors import StoreError
from ..io.files import write_atomically
from ..io.images import FORMATS, SUFFIXES
from .database import InspectionRow
from .store import Store

_log = logging.getLogger(__name__)
_CLASSES = ("good", "bad")
_SUFFIX_OF = {"JPEG": ".jpg", "TIFF": ".tif"}
_LONGEST_NAME = 100  # bytes


@dataclass(frozen=True)
class LabelCounts:
    """Numbers of reviewed photos by class, and how many of them are new or changed class.

    `damaged` are the inspections that were left out because the store has lost their photo or row.
    """

    good: int
    bad: int
    added: int
    moved: int
    damaged: int = 0


def write_labels(store: Store, out: Path, product: str | None = None) -> LabelCounts:
    """Copy each reviewed photo, of one product or all, into the folder of its true label.

    Photos are told apart by their content. One that `out` holds already stays, or moves if its
    label is now the other one; of several reviews of a photo the last counts. Photos keep their
    names; if a name is taken, the inspection's id is added.

    Raises:
        StoreError: if there is no review, `out` holds something else, or a photo cannot be copied.
    """
    counts = dict.fromkeys((*_CLASSES, "added", "moved", "damaged"), 0)
    try:
        if out.exists() and any(out.iterdir()) and not any((out / c).is_dir() for c in _CLASSES):
            raise StoreError(f"{out} holds files but no good/ or bad/; choose another OUT.")
        last: dict[str, InspectionRow] = {}
        for row in store.reviewed(product):
            digest = _photo_digest(store, row)
            if digest is None:
                counts["damaged"] += 1
                continue
            if digest not in last or (row.reviewed_ms or 0) > (last[digest].reviewed_ms or 0):
                last[digest] = row
        if not last:
            raise StoreError("The store has no reviewed inspections; review some verdicts first.")
        there = {
            _digest(path): path for c in _CLASSES for path in (out / c).rglob("*") if path.is_file()
        }
        for digest, row in last.items():
            label = "bad" if row.true_label else "good"
            counts[label] += 1
            folder, held = out / label, there.get(digest)
            if held is not None and held.is_relative_to(folder):
                continue
            folder.mkdir(parents=True, exist_ok=True)
            if held is not None:
                os.replace(held, _free_path(folder, held.name, row.id))
                counts["moved"] += 1
                continue
            content = (store.files.folder(row.id) / "photo").read_bytes()
            write_atomically(_free_path(folder, _file_name(row), row.id), content)
            counts["added"] += 1
    except OSError as error:
        raise StoreError(f"Cannot copy a photo to {out}: {error}") from error
    return LabelCounts(**counts)


def _photo_digest(store: Store, row: InspectionRow) -> str | None:
    """Return what tells a photo apart, or None, with a warning, if it or its row is damaged."""
    whole = (
        row.photo_format in FORMATS
        and isinstance(row.name, str | None)
        and isinstance(row.reviewed_ms, int)
    )
    try:
        if whole:
            return _digest(store.files.folder(row.id) / "photo")
    except OSError as error:
        _log.warning("The photo of inspection %s cannot be read: %s", row.id, error)
    else:
        _log.warning("Inspection %s is damaged in the store", row.id)
    return None


def _file_name(row: InspectionRow) -> str:
    """Return the photo's own name; clients choose it, so it may be hostile or no file name."""
    given = PureWindowsPath(row.name or "")  # both kinds of slash
    known = given.suffix.lower() in SUFFIXES
    stem = given.stem if known else given.name
    stem = re.sub(r'[\x00-\x1f\x7f<>:"|?*]+', "-", stem).strip(" .")
    stem = stem.encode(errors="ignore")[:_LONGEST_NAME].decode(errors="ignore") or row.id
    own = _SUFFIX_OF.get(row.photo_format, f".{row.photo_format.lower()}")
    return stem + (given.suffix if known else own)


def _free_path(folder: Path, name: str, id: str) -> Path:
    path = folder / name
    return path.with_name(f"{path.stem}-{id}{path.suffix}") if path.exists() else path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
