"""A run folder's rows as every format reads them: verdict, words, map and photo of an image."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import ExportError
from ..inspection import FloatArray
from ..runs.read import Row


@dataclass(frozen=True)
class Item:
    """One image of a run.

    Attributes:
        image: where it was inspected.
        photo: where it is now, if it is anywhere.
        name: its path below the photos' common folder, with slashes.
        error: why it has no result; None if it has one.
        pred_label: True for a defect; None from a system that gives no verdict.
        pred_score: higher for a defect; None from a system that gives none.
        explanation: the reasoning in words, maybe empty.
        row: all that the run says of it.
        run: the run folder.
    """

    image: str
    photo: Path
    name: str
    error: str | None
    pred_label: bool | None
    pred_score: float | None
    explanation: str
    row: Row = field(repr=False)
    run: Path

    @property
    def has_map(self) -> bool:
        """Whether the run names an anomaly map of it."""
        return self.row.get("anomaly_map") is not None

    def check(self) -> None:
        """Refuse an image without a result.

        Raises:
            ExportError: with the error that it has in the run.
        """
        if self.error is not None:
            raise ExportError(self.error)

    def anomaly_map(self) -> FloatArray:
        """Read its map, (height, width) of the upright image, higher for a defect.

        Raises:
            ExportError: if it has no result, or no map that can be read.
        """
        self.check()
        if not self.has_map:
            raise ExportError(
                "The run keeps no anomaly map of it; --to csv, labelstudio and fiftyone take "
                "verdicts alone."
            )
        try:
            with np.load(self.run / self.row["anomaly_map"], allow_pickle=False) as arrays:
                anomaly_map = np.asarray(arrays["anomaly_map"], dtype=np.float32)
            if anomaly_map.ndim != 2 or not np.isfinite(anomaly_map).all():
                raise ValueError("it is no (height, width) array of finite numbers")
        except Exception as error:  # a damaged file makes NumPy raise nearly anything
            raise ExportError(
                f"Cannot read its anomaly map {self.row['anomaly_map']} ({error}); inspect it "
                "again into a new run folder."
            ) from error
        return anomaly_map

    def existing_photo(self) -> Path:
        """Return where the photo is.

        Raises:
            ExportError: if the image has no result, or the photo has been moved away.
        """
        self.check()
        if not self.photo.is_file():
            raise ExportError(
                f"There is no photo {self.photo}; if the photos have been moved, give the folder "
                "they are in now: --photos FOLDER."
            )
        return self.photo


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        items: all rows in order, failed and damaged ones too.
        photos: the photos' common folder, where it is now.
    """

    items: tuple[Item, ...]
    photos: Path


def read_source(run: Path, photos: Path | None = None) -> Source:
    """Read a run folder of `flawsight inspect`, or a cell of a bench.

    Args:
        run: the folder.
        photos: the folder that now holds what lay below the photos' common folder.

    Raises:
        ExportError: if the folder holds no run, or no image has been inspected yet.
    """
    path = run / "inspections.jsonl"
    if not (run / "run.json").is_file() or not path.is_file():
        cells = sorted(run.glob("*/*/run.json"))
        hint = f"its cells do, {cells[0].parent} for one" if cells else "give the --out of inspect"
        raise ExportError(f"{run} holds no run; {hint}.")
    rows = list(_read_rows(path))
    if not rows:
        raise ExportError(f"{run} holds no image yet; let flawsight inspect finish one.")
    paths = [os.path.abspath(row["image"]) for row in rows if row.get("error") is None]
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths] or [os.getcwd()]))
    photos = root if photos is None else photos.absolute()
    return Source(tuple(_item(row, run, root, photos) for row in rows), photos)


def _read_rows(path: Path) -> Iterator[Row]:
    """Yield all rows, with a failed one in the place of each that is damaged or torn."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not (isinstance(row, dict) and isinstance(row.get("image"), str) and row["image"]):
            row = {"image": f"{path.name}, line {number}", "error": "This row is damaged."}
        yield row


def _item(row: Row, run: Path, root: Path, photos: Path) -> Item:
    name = Path(os.path.relpath(row["image"], root)).as_posix()
    error, label, score = row.get("error"), row.get("pred_label"), row.get("pred_score")
    if error is None and not (
        isinstance(label, bool | None)
        and (score is None or (isinstance(score, int | float) and math.isfinite(score)))
    ):
        error = "This row is damaged: its pred_label or pred_score is of the wrong kind."
    return Item(
        image=row["image"],
        photo=photos / name,
        name=name,
        error=None if error is None else str(error),
        pred_label=label if error is None else None,
        pred_score=score if error is None else None,
        explanation=str(row.get("explanation") or ""),
        row=row,
        run=run,
    )
