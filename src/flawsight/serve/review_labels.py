"""Reviewed inspections → an image-level data set: OUT/good and OUT/bad."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from .store import Store

_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}


@dataclass(frozen=True)
class LabelCounts:
    """Numbers of photos written."""

    good: int
    bad: int


def write_labels(store: Store, out: Path, product: str | None = None) -> LabelCounts:
    """Copy each reviewed photo, of one product or all, into the folder of its true label.

    Raises:
        StoreError: if there is no review, `out` is not empty, or a photo cannot be copied.
    """
    counts = {"good": 0, "bad": 0}
    try:
        if out.exists() and any(out.iterdir()):
            raise StoreError(f"{out} is not empty; choose another OUT.")
        for row in store.reviewed(product):
            label = "bad" if row.true_label else "good"
            suffix = _SUFFIXES.get(row.photo_format, f".{row.photo_format.lower()}")
            (out / label).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store.files.folder(row.id) / "photo", out / label / f"{row.id}{suffix}")
            counts[label] += 1
    except OSError as error:
        raise StoreError(f"Cannot copy a photo to {out}: {error}") from error
    if not any(counts.values()):
        raise StoreError("The store has no reviewed inspections; review some verdicts first.")
    return LabelCounts(**counts)
