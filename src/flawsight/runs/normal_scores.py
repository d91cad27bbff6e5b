"""The scores of normal images in a run folder, for a calibration."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePath

from ..calibration import NormalScores
from ..errors import CalibrationError
from .read import read_description, read_rows


def read_normal_scores(run: Path, images: Sequence[Path] | None = None) -> NormalScores:
    """Return the normal scores of a run folder.

    In a bench, the truth.jsonl beside it says which images are normal and of which category.
    Elsewhere all are taken to be normal, and their paths give the category.

    Args:
        run: folder with run.json and inspections.jsonl.
        images: absolute paths to which to keep; None keeps to none.

    Raises:
        RunFolderError: if the run cannot be read.
        CalibrationError: if the truth is damaged, or a row has no score.
    """
    about = read_description(run)
    truth = _read_truth(run.absolute().parent / "truth.jsonl")
    wanted = None if images is None else {str(image) for image in images}
    # An image that failed and was tried again has two rows; the last one counts.
    rows = {row["image"]: row for row in read_rows(run)}
    groups: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    skipped = 0
    for image, row in rows.items():
        if wanted is not None and image not in wanted:
            continue
        category = category_of_path(image) if truth is None else truth.get(image)
        if category is None:
            continue
        if "error" in row:
            skipped += 1
            continue
        if row.get("pred_score") is None:
            raise CalibrationError(f"{run} holds no score of {image}; it only answers Yes or No.")
        groups.setdefault(category, []).append(float(row["pred_score"]))
        if (peak := row.get("map_peak")) is not None:
            peaks.setdefault(category, []).append(float(peak))
    model = about.get("model")
    model = model if isinstance(model, dict) else {"name": model}
    return NormalScores(
        {category: tuple(group) for category, group in groups.items()},
        skipped,
        {"name": model.get("name"), "sha256": model.get("sha256")},
        about.get("settings"),
        about.get("prior_sha256"),
        {category: tuple(group) for category, group in peaks.items()},
    )


def category_of_path(image: str | PurePath) -> str:
    """Return CATEGORY of …/CATEGORY/train/good/x.png or …/test/good/…, else the folder's name."""
    parents = PurePath(image).parts[:-1]
    if len(parents) >= 3 and parents[-1] == "good" and parents[-2] in ("train", "test"):
        return parents[-3]
    return parents[-1] if parents else ""


def _read_truth(path: Path) -> dict[str, str] | None:
    """Return the category of each normal image, or None where there is no truth."""
    if not path.exists():
        return None
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        # A bench writes a header that names the data set.
        samples = [line for line in lines if "image" in line]
        return {line["image"]: line["category"] for line in samples if line["label"] == 0}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibrationError(f"{path} is damaged ({error}); run the bench again.") from error
