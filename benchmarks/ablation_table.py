"""The points of `cgro_ablation.py` → the tables of docs/results.md."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pages import markdown

LABELS = {"base": "base", "r1": "+ R1", "cgro": "+ CGRO"}
METRICS = {
    "image_auroc": "image AUROC",
    "balanced_accuracy": "balanced accuracy",
    "pixel_auroc_vanilla": "pixel AUROC, vanilla",
    "pixel_auroc_real": "ReAL",
    "pixel_ap_vanilla": "pixel AP, vanilla",
    "pixel_ap_real": "ReAL",
    "contradictions": "contradictions",
    "J_defective": "J, defective",
    "J_normal": "J, normal",
}
Point = dict[str, Any]


def mean_and_std(values: Sequence[float | None]) -> str:
    """Write a mean with its standard deviation over seeds, in %."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    if len(known) == 1:
        return f"{known[0]:.1f}"
    return f"{np.mean(known):.1f} ± {np.std(known, ddof=1):.1f}"


def table(points: Sequence[Point]) -> str:
    """Return the metrics after the last step, and those of all steps."""
    last: list[list[str]] = []
    over_time: list[list[str]] = []
    for scenario, test in dict.fromkeys((p["scenario"], p["test"]) for p in points):
        own = [p for p in points if (p["scenario"], p["test"]) == (scenario, test)]
        for reward, label in LABELS.items():
            steps = sorted({p["step"] for p in own if p["reward"] == reward})
            for step in steps:
                found = [p for p in own if (p["reward"], p["step"]) == (reward, step)]
                shown = {name: mean_and_std([p[name] for p in found]) for name in METRICS}
                if step == steps[-1]:
                    tested = f"{test} ({found[0]['images']})"
                    last.append([scenario, tested, label, str(len(found)), *shown.values()])
                if reward != "base":
                    seconds = f"{np.mean([p['seconds'] for p in found]):.0f}"
                    metrics = [shown["image_auroc"], shown["balanced_accuracy"]]
                    over_time.append([scenario, test, label, str(step), seconds, *metrics])
    names = ["setting", "tested on", ""]
    time = ["step", "s of one core", "image AUROC", "balanced accuracy"]
    return "\n\n".join(
        [
            markdown([*names, "seeds", *METRICS.values()], last),
            "In %, mean ± standard deviation over seeds, after the last step; both J are means.",
            markdown([*names, *time], over_time),
        ]
    )
