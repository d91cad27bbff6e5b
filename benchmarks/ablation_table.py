"""The points of `cgro_ablation.py` → the table of docs/results.md."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pages import markdown

LABELS = {"base": "base", "r1": "R1", "cgro": "CGRO"}
METRICS = {
    "image_auroc": "image AUROC",
    "balanced_accuracy": "balanced accuracy",
    "pixel_auroc_vanilla": "pixel AUROC, vanilla",
    "pixel_auroc_real": "ReAL",
    "contradictions": "contradictions",
}
Point = dict[str, Any]


def mean_and_std(values: Sequence[float | None]) -> str:
    """Write a mean with its standard deviation over seeds, in %."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    if len(known) == 1:
        return f"{known[0]:.1f}"
    return f"{np.mean(known):.1f}±{np.std(known, ddof=1):.1f}"


def table(points: Sequence[Point]) -> str:
    """Return the metrics of each test set and reward."""
    rows = []
    for test in dict.fromkeys(point["test"] for point in points):
        for reward, label in LABELS.items():
            found = [p for p in points if (p["test"], p["reward"]) == (test, reward)]
            if found:
                shown = (mean_and_std([point[name] for point in found]) for name in METRICS)
                rows.append([test, label, *shown])
    seeds = len({point["seed"] for point in points})
    steps = max(point["step"] for point in points)
    return markdown(["setting", "", *METRICS.values()], rows) + (
        f"\n\nIn %, mean ± standard deviation over {seeds} seeds after {steps} steps; the base is "
        "one model."
    )
