"""Every detector on every data set, on disk and resumable.

OUT/DATASET/truth.jsonl            label and mask of each image
OUT/DATASET/DETECTOR/              a run folder: run.json, inspections.jsonl, maps/
OUT/traces/                        responses with their attention, shared between settings
OUT/answers/                       answers of endpoints
OUT/tables.md, tables.tex, metrics.csv
OUT/learning-curve/                the same once more, of a learning curve
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.dataset import Dataset, Sample
from ..errors import FlawsightError, RunFolderError
from ..io.file_stamp import FileStamp
from ..io.files import write_atomically
from ..runs.folder import RunFolder
from ..runs.read import Row, Truth, read_description, read_rows, read_truth
from .detectors.protocol import Detector, Prediction


@dataclass(frozen=True)
class DetectorRun:
    """One detector on one data set: samples, run folder with predictions, root of the set."""

    dataset: str
    detector: str
    folder: Path
    samples: tuple[Sample, ...]
    root: Path = Path()

    def rows(self) -> dict[str, Row]:
        """Return the rows by image path; an image that failed has an "error"."""
        return {row["image"]: row for row in read_rows(self.folder)}


def _write_truth(out: Path, dataset: Dataset) -> Path:
    """Write truth.jsonl of a data set, and return the folder that holds it.

    Raises:
        RunFolderError: if the folder's name was taken by another data set.
    """
    folder = out / folder_name(dataset.name)
    path = folder / "truth.jsonl"
    header = {"dataset": dataset.name, "root": str(dataset.root)}
    before = read_truth(folder)
    if before is not None and (before.dataset, before.root) != (dataset.name, str(dataset.root)):
        raise RunFolderError(
            f"{folder} holds {before.dataset} of {before.root}, not {dataset.name} of "
            f"{dataset.root}; choose another --out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header, *(sample.to_json() for sample in dataset.samples)]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return folder


def run_detector(
    out: Path, dataset: Dataset, detector: Detector, on_row: Callable[[Row], None]
) -> DetectorRun:
    """Run a detector on the images that its folder lacks, in batches.

    Args:
        out: folder of the bench.
        dataset: its images are predicted.
        detector: predicts them.
        on_row: called with each new row.

    Raises:
        RunFolderError: if the folder was made by another detector or cannot be written.
        FlawsightError: if the detector cannot continue; finished images are kept.
    """
    folder = _write_truth(out, dataset) / folder_name(detector.name)
    images = [sample.image for sample in dataset.samples]
    run = RunFolder(folder, {**detector.about(), "detector": detector.name}, images=images)
    missing = [image for image in images if str(image) not in run.finished]
    for start in range(0, len(missing), detector.batch_size):
        batch = missing[start : start + detector.batch_size]
        stamps = [_stamp(image) for image in batch]
        for image, stamp, outcome in zip(batch, stamps, detector.predict(batch), strict=True):
            if isinstance(outcome, FlawsightError):
                on_row(run.add_error(str(image), outcome))
            elif outcome.pred_score is not None and not math.isfinite(outcome.pred_score):
                error = RunFolderError(f"{detector.name} gave the score {outcome.pred_score}.")
                on_row(run.add_error(str(image), error))
            else:
                on_row(_add(run, image, stamp, outcome))
    return DetectorRun(dataset.name, detector.name, folder, dataset.samples, dataset.root)


def holds_bench(out: Path) -> bool:
    """Whether a folder has runs of detectors, besides those of a learning curve."""
    return any(out.glob("*/truth.jsonl"))


def read_detector_runs(out: Path) -> list[DetectorRun]:
    """Return all detector runs in a bench's folder.

    Raises:
        RunFolderError: if there is none, or a file is damaged.
    """
    runs = []
    for path in sorted(out.glob("*/truth.jsonl")):
        truth = read_truth(path.parent)
        assert truth is not None
        samples = _samples(truth, path.parent)
        for description in sorted(path.parent.glob("*/run.json")):
            detector = read_description(description.parent).get("detector")
            if not isinstance(detector, str):
                raise RunFolderError(f"{description} names no detector; a bench did not write it.")
            root = Path(truth.root)
            runs.append(DetectorRun(truth.dataset, detector, description.parent, samples, root))
    if not runs:
        raise RunFolderError(
            f"{out} holds no bench (no folder DATASET with truth.jsonl and run folders)."
        )
    return runs


def samples_of_run(folder: Path) -> tuple[Sample, ...]:
    """Return the samples of a detector run's data set; none for a run outside of a bench.

    Raises:
        RunFolderError: if truth.jsonl is damaged.
    """
    parent = folder.resolve().parent
    truth = read_truth(parent)
    return () if truth is None else _samples(truth, parent)


def _samples(truth: Truth, folder: Path) -> tuple[Sample, ...]:
    try:
        return tuple(Sample.from_json(sample) for sample in truth.samples)
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{folder / 'truth.jsonl'} is damaged: {error}. Run the bench again."
        ) from error


def _stamp(image: Path) -> dict[str, Any]:
    """Return the row's field "file", as it was before the detector read it."""
    try:
        return {"file": FileStamp.of_file(image).to_json()}
    except OSError:
        return {}


def _add(run: RunFolder, image: Path, stamp: dict[str, Any], prediction: Prediction) -> Row:
    row = (
        prediction.details
        | stamp
        | {
            "image": str(image),
            "pred_score": prediction.pred_score,
            "pred_label": prediction.pred_label,
            "explanation": prediction.explanation,
            "contradiction": prediction.contradiction,
            "seconds": round(prediction.seconds, 4),
        }
    )
    maps = {} if prediction.anomaly_map is None else {"anomaly_map": prediction.anomaly_map}
    return run.add_row(row, maps | prediction.arrays)


def folder_name(name: str) -> str:
    """Return the name of the folder of a data set or a detector."""
    return re.sub(r"[^A-Za-z0-9_.=+-]+", "-", name).strip("-.") or "unnamed"


def check_names(datasets: Sequence[str], detectors: Sequence[str]) -> None:
    """Raise RunFolderError if two data sets or two detectors would share a folder."""
    for names in (datasets, detectors):
        seen: dict[str, str] = {}
        for name in names:
            folder = folder_name(name)
            if folder in seen:
                raise RunFolderError(
                    f"{seen[folder]} and {name} would share the folder {folder}; give one of "
                    "them another name (NAME=PATH of a data set, ,name=NAME of a detector)."
                )
            seen[folder] = name
