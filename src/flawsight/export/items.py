"""The rows of a run as every format reads them: verdict, explanation, map and photo."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import ExportError, RunFolderError
from ..inspection import FloatArray
from ..io.file_stamp import was_replaced
from ..runs.read import Row, holds_run, read_array, read_rows
from ..runs.relabel import rows_by_threshold


@dataclass(frozen=True)
class Item:
    """One image of a run.

    Attributes:
        image: its path when it was inspected.
        photo: its path now; there may be no such file.
        name: its path below the photos' common folder, with slashes.
        error: why it has no result; None if it has one.
        pred_label: True for a defect; None from a detector without verdicts.
        pred_score: higher for a defect; None from a detector without scores.
        explanation: the reasoning, maybe empty.
        row: of the run; only its image if there is an error.
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
        """Whether the row names an anomaly map."""
        return self.row.get("anomaly_map") is not None

    @property
    def disagreements(self) -> str | None:
        """Which of verdict, answer and reasoning disagree, like "verdict/answer, …", if known."""
        pairs = self.row.get("disagreements")
        return ", ".join(map(str, pairs)) if isinstance(pairs, list) else None

    def check(self) -> None:
        """Refuse an image without a result.

        Raises:
            ExportError: with the error in its row.
        """
        if self.error is not None:
            raise ExportError(self.error)

    def anomaly_map(self) -> FloatArray:
        """Return its map, (height, width) of the upright image, higher for a defect.

        Raises:
            ExportError: if it has no result, or no map that can be read.
        """
        self.check()
        if not self.has_map:
            raise ExportError(
                "The run has no anomaly map of it; --to csv, labelstudio and fiftyone need "
                "verdicts only."
            )
        try:
            anomaly_map = read_array(self.run, self.row, "anomaly_map")
        except RunFolderError as error:
            raise ExportError(str(error)) from error
        if not np.isfinite(anomaly_map).all():
            raise ExportError(
                f"Its anomaly map {self.row['anomaly_map']} has NaN or infinite values; inspect "
                "it again into a new run folder."
            )
        return anomaly_map

    def existing_photo(self) -> Path:
        """Return the path of the photo.

        Raises:
            ExportError: if the image has no result, or the photo has been moved.
        """
        self.check()
        if not self.photo.is_file():
            raise ExportError(
                f"There is no photo {self.photo}; if the photos have been moved, give their new "
                "folder: --photos FOLDER."
            )
        return self.photo


@dataclass(frozen=True)
class Source:
    """All rows in order, with failed and damaged ones, and the photos' common folder of today."""

    items: tuple[Item, ...]
    photos: Path


def read_source(run: Path, photos: Path | None = None, threshold: float | None = None) -> Source:
    """Read a run folder of `flawsight inspect` or of a bench.

    Args:
        run: the folder.
        photos: the photos' common folder, if it has been moved.
        threshold: of pred_score, instead of the run's own verdicts.

    Raises:
        ExportError: if the folder holds no run, or no image has been inspected yet.
        MissingExtraError: if a cluster made the run, and pyarrow is not installed.
    """
    if not holds_run(run):
        runs = [path.parent for path in sorted(run.glob("*/*/run.json"))]
        hint = f"give one of a bench, like {runs[0]}" if runs else "give the --out of inspect"
        raise ExportError(f"{run} holds no run; {hint}.")
    rows = read_rows(run, damaged_as_errors=True)
    if not rows:
        raise ExportError(f"{run} holds no image yet; run flawsight inspect first.")
    if threshold is not None:
        rows = rows_by_threshold(run, rows, threshold)
    paths = [os.path.abspath(row["image"]) for row in rows if row.get("error") is None]
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths] or [os.getcwd()]))
    photos = root if photos is None else photos.absolute()
    return Source(tuple(_item(row, run, root, photos) for row in rows), photos)


def _item(row: Row, run: Path, root: Path, photos: Path) -> Item:
    name = Path(os.path.relpath(row["image"], root)).as_posix()
    error, label, score = row.get("error"), row.get("pred_label"), row.get("pred_score")
    is_score = score is None or (isinstance(score, int | float) and math.isfinite(score))
    if error is None and not (isinstance(label, bool | None) and is_score):
        error = "This row is damaged: its pred_label or pred_score has a wrong type."
    if error is None and was_replaced(row, photos / name):
        error = f"{photos / name} has been replaced since it was inspected; inspect it again."
    return Item(
        image=row["image"],
        photo=photos / name,
        name=name,
        error=None if error is None else str(error),
        pred_label=label if error is None else None,
        pred_score=score if error is None else None,
        explanation=str(row.get("explanation") or ""),
        row=row if error is None else {"image": row["image"]},
        run=run,
    )
