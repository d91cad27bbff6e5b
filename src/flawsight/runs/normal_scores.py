"""The scores of the normal images of a run folder, for a calibration."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

from ..calibration import FORMAT, NormalScores
from ..errors import CalibrationError
from .read import read_description, read_rows, read_truth


def read_normal_scores(run: Path, images: Sequence[Path] | None = None) -> NormalScores:
    """Return the normal scores of a run folder.

    For a run folder of a bench, truth.jsonl gives the labels and categories. In any other run all
    images count as normal, and their paths give the category.

    Args:
        run: folder.
        images: absolute paths of the images to use; None uses all.

    Raises:
        RunFolderError: if the run or the truth cannot be read.
        CalibrationError: if a row has no score.
    """
    about = read_description(run)
    truth = read_truth(run.absolute().parent)
    normal = None
    if truth is not None:
        normal = {s["image"]: s["category"] for s in truth.samples if s["label"] == 0}
    wanted = None if images is None else {str(image) for image in images}
    # An image that failed and was tried again has two rows; the last counts.
    rows = {row["image"]: row for row in read_rows(run)}
    scores: defaultdict[str, list[float]] = defaultdict(list)
    peaks: defaultdict[str, list[float]] = defaultdict(list)
    skipped = 0
    for image, row in rows.items():
        if wanted is not None and image not in wanted:
            continue
        category = category_of_path(image) if normal is None else normal.get(image)
        if category is None:
            continue
        if "error" in row:
            skipped += 1
            continue
        if row.get("pred_score") is None:
            raise CalibrationError(
                f"{run} has no score of {image}; its detector gives verdicts only."
            )
        scores[category].append(float(row["pred_score"]))
        if (peak := row.get("map_peak")) is not None:
            peaks[category].append(float(peak))
    model = about.get("model")
    model = model if isinstance(model, dict) else {"name": model}
    return NormalScores(
        {category: tuple(group) for category, group in scores.items()},
        skipped,
        {"name": model.get("name"), "sha256": model.get("sha256")},
        about.get("settings"),
        about.get("prior_sha256"),
        {category: tuple(group) for category, group in peaks.items()},
        about.get("format", FORMAT),
        about.get("reference_sha256"),
        about.get("prompt_photos_sha256"),
    )


def category_of_path(image: str | PurePath) -> str:
    """Return CATEGORY of …/CATEGORY/train/good/x.png or …/test/good/…, else the folder's name."""
    parents = PurePath(image).parts[:-1]
    if len(parents) >= 3 and parents[-1] == "good" and parents[-2] in ("train", "test"):
        return parents[-3]
    return parents[-1] if parents else ""
