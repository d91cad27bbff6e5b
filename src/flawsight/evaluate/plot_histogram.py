"""The histogram of normal scores with their threshold, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import CalibrationError, MissingExtraError

BINS = 40


def draw_histogram(
    path: Path, scores: Sequence[float], threshold: float, false_alarm_rate: float
) -> None:
    """Write a PNG of the scores' histogram with the threshold as a line.

    Args:
        path: of the PNG.
        scores: at least one, of normal images.
        threshold: a part is called defective iff its score is above it.
        false_alarm_rate: that the threshold keeps to, in (0, 1).

    Raises:
        MissingExtraError: if matplotlib is not installed.
        CalibrationError: if the picture cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench") from error

    low, high = min(0.0, *scores), max(1.0, *scores)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.hist(scores, bins=np.linspace(low, high, BINS + 1).tolist(), color="#4a7ebb")
    above = sum(score > threshold for score in scores)
    axes.axvline(
        threshold,
        color="#c0392b",
        label=f"threshold {threshold:.4g}: {above} of {len(scores)} above",
    )
    axes.set_xlim(low - 0.01 * (high - low), high + 0.01 * (high - low))
    axes.set_xlabel("pred_score of normal images")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"False alarm rate at most {100 * false_alarm_rate:g} %", fontsize="medium")
    # Beside the picture, where it can hide neither bars nor the line.
    figure.legend(loc="outside lower center", frameon=False)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise CalibrationError(f"Cannot write {path}: {error.strerror or error}.") from error
