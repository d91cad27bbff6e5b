"""Readers of data sets given as a list: meta.json, CSV or JSONL.

Paths in a list are relative to the list's folder.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from .dataset import Dataset, Sample, UnusedFile
from .layouts import DEFECTIVE, NORMAL, SPLITS, check_files, read_table, sort_samples
from .unused import with_labels

# Field → the names that its column may have.
_COLUMNS = {
    "image": ("image", "path", "img_path", "file", "filename"),
    "label": ("label", "anomaly"),
    "mask": ("mask", "mask_path"),
    "category": ("category", "cls_name"),
    "class_name": ("class_name", "class", "cls", "specie_name"),
    "split": ("split",),
    "dataset": ("dataset",),
    "reference": ("reference",),
}
_LABELS = dict.fromkeys(("0", "false", *NORMAL), 0) | dict.fromkeys(("1", "true", *DEFECTIVE), 1)


def read_csv(path: Path, name: str) -> list[Dataset]:
    """Read a table with a header: path or image, label, and optionally mask, category, split,
    class, dataset, reference. Of a table with the column pred_label, as `flawsight export` writes
    it, rows without a label are not reviewed, and left out.

    Returns:
        One data set for each value in the column "dataset", or one called `name`.

    Raises:
        DatasetError: if a column, a label or a file is missing.
    """
    rows = list(enumerate(read_table(path), start=2))
    if not any("pred_label" in row for _, row in rows):
        return _datasets(path, name, rows)
    reviewed = [(number, row) for number, row in rows if _text(row, "label")]
    if not reviewed:
        raise DatasetError(f"{path} has no label; write good or defective into its column label.")
    unused = (
        UnusedFile(path.parent / str(_text(row, "image")), "not read", "not reviewed")
        for _, row in rows
        if not _text(row, "label")
    )
    first, *others = _datasets(path, name, reviewed)
    return [replace(first, unused=(*first.unused, *unused)), *others]


def read_jsonl(path: Path, name: str) -> list[Dataset]:
    """Read one JSON object per line, with the keys that `read_csv` has as columns.

    Raises:
        DatasetError: if a line is not an object, or a key, a label or a file is missing.
    """
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise DatasetError(f"Cannot read {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{path}, line {number} must be an object with image and label.")
        rows.append((number, row))
    return _datasets(path, name, rows)


def read_meta(path: Path, name: str) -> list[Dataset]:
    """Read a meta.json in AnomalyCLIP's format.

    {"train": {CATEGORY: [{"img_path", "mask_path", "cls_name", "specie_name", "anomaly"}]},
    "test": …}.

    Raises:
        DatasetError: if its format is another one, or files are missing.
    """
    form = '{"test": {CATEGORY: [{"img_path": …, "mask_path": …, "anomaly": 0 or 1}, …]}}'
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            {"category": category, **entry, "split": split}
            for split, categories in meta.items()
            for category, entries in categories.items()
            for entry in entries
        ]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DatasetError(f"{path} must be like {form}: {error}") from error
    return _datasets(path, name, list(enumerate(rows, start=1)))


def _datasets(path: Path, name: str, rows: list[tuple[int, dict[str, Any]]]) -> list[Dataset]:
    if not rows:
        raise DatasetError(f"{path} lists no images.")
    groups: dict[str, list[Sample]] = {}
    for number, row in rows:
        groups.setdefault(_text(row, "dataset") or name, []).append(_sample(path, number, row))
    check_files(path, [sample for samples in groups.values() for sample in samples])
    return [
        with_labels(Dataset(key, path.parent, sort_samples(one))) for key, one in groups.items()
    ]


def _sample(path: Path, number: int, row: dict[str, Any]) -> Sample:
    image, label_text = _text(row, "image"), _text(row, "label")
    if image is None or label_text is None:
        raise DatasetError(
            f"{path}, row {number} must say image (or path) and label; it has "
            f"{', '.join(str(key) for key, value in row.items() if value not in (None, ''))}."
        )
    label = label_of(label_text)
    if label is None:
        raise DatasetError(
            f"{path}, row {number} has the label {label_text!r}; expected 0 (normal) or 1 "
            "(defective)."
        )
    split_text = _text(row, "split") or "test"
    split = SPLITS.get(split_text.lower())
    if split is None:
        raise DatasetError(
            f"{path}, row {number} has the split {split_text!r}; expected train, validation or "
            "test."
        )
    mask = _text(row, "mask")
    return Sample(
        image=path.parent / image,
        label=label,
        category=_text(row, "category") or path.parent.name,
        split=split,
        class_name=(_text(row, "class_name") or "bad") if label else "good",
        mask=path.parent / mask if mask else None,
        reference=_text(row, "reference"),
    )


def label_of(text: str) -> int | None:
    """Return the label that a word or number means, 1 for defective; None if it means none."""
    return _LABELS.get(text.lower())


def _text(row: dict[str, Any], what: str) -> str | None:
    """Return the first non-empty column of a field."""
    for column in _COLUMNS[what]:
        if (value := row.get(column)) is not None and (text := str(value).strip()):
            return text
    return None
