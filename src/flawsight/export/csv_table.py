"""CSV: one row per image, for a spreadsheet or pandas."""

import csv
from pathlib import Path

from .items import Item, Source

COLUMNS = (
    "image", "pred_label", "pred_score", "answer", "explanation", "contradiction",
    "disagreements", "height", "width", "seconds", "anomaly_map", "overlay", "error", "warnings",
    "evidence_words", "evidence_crops", "evidence_reference", "label",
)  # fmt: skip


class CsvWriter:
    """A CSV with `COLUMNS`; a failed image is a row with its error.

    The column label is empty: what a reviewer writes there makes the table a data set.
    """

    def __init__(self, out: Path, source: Source, map_threshold: float | None) -> None:
        self._out = out
        self._rows: list[list[object]] = []

    def add(self, item: Item) -> None:
        """Add a row; flags are true and false, unknown values are empty."""
        size = item.row.get("image_size")
        height, width = size if isinstance(size, list) and len(size) == 2 else (None, None)
        known = item.row | {"height": height, "width": width, "error": item.error}
        known["disagreements"] = item.disagreements
        warnings = item.row.get("warnings")
        known["warnings"] = " ".join(map(str, warnings)) if isinstance(warnings, list) else None
        for name, share in (item.row.get("evidence") or {}).items():
            known[f"evidence_{name}"] = share
        values = [known.get(column) for column in COLUMNS]
        self._rows.append([str(v).lower() if isinstance(v, bool) else v for v in values])

    def finish(self) -> None:
        """Write the file."""
        # File names on Linux need not be UTF-8.
        with self._out.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(self._rows)
