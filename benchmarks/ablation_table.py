"""The points of `cgro_ablation.py` → the tables of docs/results.md."""

from collections.abc import Sequence
from typing import Any

import numpy as np

LABELS = {"base": "base", "r1": "+ R1", "cgro": "+ CGRO", "sink-free": "+ CGRO, sink-free"}
FIGURES = {
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


def spread(values: Sequence[float | None]) -> str:
    """Write a mean with its standard deviation over seeds, in %."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    if len(known) == 1:
        return f"{known[0]:.1f}"
    return f"{np.mean(known):.1f} ± {np.std(known, ddof=1):.1f}"


def table(points: Sequence[Point]) -> str:
    """Return what each reward brought by its last step, and how it came about."""
    lines = [
        f"| setting | tested on | | seeds | {' | '.join(FIGURES.values())} |",
        "|---|---|---|---|" + "---|" * len(FIGURES),
    ]
    over_time = [
        "| setting | tested on | | step | s of one core | image AUROC | balanced accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    places = dict.fromkeys((p["scenario"], p["test"]) for p in points)
    for scenario, test in places:
        own = [p for p in points if (p["scenario"], p["test"]) == (scenario, test)]
        for reward, label in LABELS.items():
            steps = sorted({p["step"] for p in own if p["reward"] == reward})
            for step in steps:
                found = [p for p in own if (p["reward"], p["step"]) == (reward, step)]
                figures = {name: spread([p[name] for p in found]) for name in FIGURES}
                if step == steps[-1]:
                    lines.append(
                        f"| {scenario} | {test} ({found[0]['images']}) | {label} | {len(found)} "
                        f"| {' | '.join(figures.values())} |"
                    )
                if reward != "base":
                    seconds = np.mean([p["seconds"] for p in found])
                    over_time.append(
                        f"| {scenario} | {test} | {label} | {step} | {seconds:.0f} | "
                        f"{figures['image_auroc']} | {figures['balanced_accuracy']} |"
                    )
    note = "In %, mean ± standard deviation over seeds, after the last step; both J are means."
    return "\n".join([*lines, "", note, "", *over_time])
