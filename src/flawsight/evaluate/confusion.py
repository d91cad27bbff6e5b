"""A detector's verdicts against the labels: the confusion counts, and a better threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bench import DetectorRun


@dataclass(frozen=True)
class Confusion:
    """Verdicts on labelled images. One without a verdict, of a detector of scores, is in none.

    Attributes:
        true_positives: defective images called defective.
        false_positives: good images called defective.
        false_negatives: defective images called good.
        true_negatives: good images called good.
        failed: images that failed.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    failed: int = 0


@dataclass(frozen=True)
class RunVerdicts:
    """What a detector's verdicts on a data set are, and what another threshold would make them.

    Attributes:
        run: the detector on the data set.
        now: by the verdicts of the run.
        suggested: the threshold of `suggested_threshold`; None without one.
        then: by the suggested threshold.
    """

    run: DetectorRun
    now: Confusion
    suggested: float | None
    then: Confusion | None


def read_verdicts(run: DetectorRun) -> RunVerdicts:
    """Compare a detector run with its labels; images that it lacks do not count.

    Raises:
        RunFolderError: if its rows cannot be read.
    """
    rows = run.rows()
    pairs = [(sample.label, rows[str(sample.image)]) for sample in run.samples
             if str(sample.image) in rows]  # fmt: skip
    labels = [bool(label) for label, _ in pairs]
    failed = sum(row.get("error") is not None for _, row in pairs)
    now = confusion(labels, [row.get("pred_label") for _, row in pairs], failed)
    scores = [row.get("pred_score") for _, row in pairs]
    known = [(label, s) for label, s in zip(labels, scores, strict=True) if s is not None]
    threshold = suggested_threshold(*zip(*known, strict=True)) if known else None
    if threshold is None:
        return RunVerdicts(run, now, None, None)
    then = confusion(
        labels, [None if score is None else score > threshold for score in scores], failed
    )
    return RunVerdicts(run, now, threshold, then)


def confusion(
    labels: Sequence[bool], verdicts: Sequence[bool | None], failed: int = 0
) -> Confusion:
    """Count (n,) verdicts by (n,) labels, True for a defect; None is an image without a verdict."""
    pairs = list(zip(labels, verdicts, strict=True))
    cells = [(True, True), (False, True), (True, False), (False, False)]
    true_positives, false_positives, false_negatives, true_negatives = map(pairs.count, cells)
    return Confusion(true_positives, false_positives, false_negatives, true_negatives, failed)


def suggested_threshold(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the threshold with the best balanced accuracy; None with one class only.

    It lies between two scores, in as few digits as tell them apart. Of equally good ones it is the
    highest, which has the fewest false alarms.

    Args:
        labels: (n,) True for a defect.
        scores: (n,) finite; an image above the threshold is defective.
    """
    truth, values = np.array(labels, bool), np.array(scores, np.float64)
    if truth.all() or not truth.any():
        return None
    levels = np.unique(values)
    # Above the k-th level: defective images found, less false alarms.
    found = [(values[truth] > one).mean() - (values[~truth] > one).mean() for one in levels]
    best = int(np.flatnonzero(np.isclose(found, max(found), rtol=0, atol=1e-12))[-1])
    low = float(levels[best])
    if best + 1 == len(levels):
        return low
    high = float(levels[best + 1])
    for digits in range(2, 18):
        middle = round((low + high) / 2, digits)
        if low <= middle < high:
            return middle
    return low
