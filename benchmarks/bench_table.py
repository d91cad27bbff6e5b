"""The tables of a bench: docs/results.md, "rendered", "real" and "calibrated".

    python benchmarks/bench_table.py RUN SECTION [--write]

RUN is a folder written by `flawsight bench`. Data sets of 20 images or fewer are left out.
"calibrated" is detection with a threshold from good parts alone: random halves of a set's good
photos give it, as in `flawsight calibrate`; the other half gives the false alarm rate, and all
defective photos the share that is found.
"""

import csv
from pathlib import Path

import numpy as np
from pages import markdown, parser_of, publish

from flawsight.calibration import conformal_threshold
from flawsight.evaluate.bench import DetectorRun, read_detector_runs
from flawsight.evaluate.metric_values import METRICS
from flawsight.evaluate.tables import percent

# The detectors of the bench, and their names in the table.
DETECTORS = {
    "flawsight": "`default`", "flawsight:preset=paper": "`paper`", "texture": "texture",
}  # fmt: skip
SECTIONS = ("rendered", "real", "calibrated")
SPLITS, RATE = 500, 0.2  # of the good photos; of false alarms, promised
SHOWN = ("image_auroc", "image_balanced_accuracy", "pixel_auroc", "pixel_aupr", "pixel_aupro")


def table(run: Path) -> str:
    """Return the Markdown table of RUN/metrics.csv."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "ours"]
    chosen = [row for row in rows if row["group"] == "pooled" and row["dataset"] != "average"]
    cells = {(row["dataset"], row["system"], row["metric"]): row for row in chosen}
    lines = []
    for dataset in dict.fromkeys(row["dataset"] for row in chosen):
        shown = ""
        for detector, name in DETECTORS.items():
            found = [cells[dataset, detector, metric] for metric in SHOWN]
            if int(found[0]["normal"]) + int(found[0]["defective"]) <= 20:
                break
            counts = f"{found[0]['normal']} + {found[0]['defective']}"
            if int(found[0]["failed"] or 0):
                counts += f" ({found[0]['failed']} failed)"
            values = (
                [float(row[key]) if row[key] else None for key in ("value", "low", "high")]
                for row in found
            )
            data = f"{dataset}, {counts}"
            values_shown = (percent(*value) for value in values)
            lines.append(["" if data == shown else data, name, *values_shown])
            shown = data
    columns = ["data, good + defective", "detector", *(METRICS[name] for name in SHOWN)]
    return f"{markdown(columns, lines)}\n\nIn %, with 95 % bootstrap intervals over images."


def scores_of(run: DetectorRun) -> tuple[list[float], list[float]]:
    """Return the scores of the good and of the defective photos that were inspected."""
    rows = run.rows()
    both: tuple[list[float], list[float]] = ([], [])
    for sample in run.samples:
        row = rows.get(str(sample.image), {})
        if "pred_score" in row:
            both[bool(sample.label)].append(row["pred_score"])
    return both


def measure(
    good: list[float], defective: list[float], rate: float, splits: int
) -> list[tuple[float, float]]:
    """Return the shares of other good and of defective photos above the threshold, by split."""
    rng = np.random.default_rng(0)
    half, found = len(good) // 2, np.array(defective)
    shares = []
    for _ in range(splits):
        mixed = rng.permutation(good)
        threshold = conformal_threshold(mixed[:half].tolist(), rate)
        shares.append((float((mixed[half:] > threshold).mean()), float((found > threshold).mean())))
    return shares


def calibrated(out: Path) -> str:
    """Return the Markdown table of preset `default`."""
    rows = []
    for run in read_detector_runs(out):
        good, defective = scores_of(run)
        if run.detector != "flawsight" or len(good) < 20:
            continue
        shares = np.array(measure(good, defective, RATE, SPLITS))
        plain = [100 * float((np.array(scores) > 0.5).mean()) for scores in (good, defective)]
        alarms, found = (
            f"{100 * column.mean():.0f} [{low:.0f}, {high:.0f}]"
            for column in shares.T
            for low, high in [100 * np.quantile(column, (0.025, 0.975))]
        )
        counts = f"{len(good)} + {len(defective)}"
        rows.append([run.dataset, counts, alarms, f"{plain[0]:.0f}", found, f"{plain[1]:.0f}"])
    columns = [
        "data", "good + defective", "good ones called defective", "of them by the plain verdict",
        "defective ones found", "by the plain verdict",
    ]  # fmt: skip
    return markdown(columns, rows) + (
        f"\n\nIn %: means over {SPLITS} random halves of the good photos, and what 95 % of them "
        f"lie in, at a promised false alarm rate of {100 * RATE:.0f} %. Sets with 20 good photos "
        "or more."
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("run", type=Path)
    parser.add_argument("section", choices=SECTIONS)
    arguments = parser.parse_args()
    text = (calibrated if arguments.section == "calibrated" else table)(arguments.run)
    publish(arguments.section, text, arguments.write)


if __name__ == "__main__":
    main()
