"""Detection with a threshold from good parts alone; docs/results.md, section "calibrated".

    python benchmarks/calibrated.py RUN [--write]

RUN is a folder written by `flawsight bench`. Random halves of a set's good photos give the
threshold, as in `flawsight calibrate`; the other half gives the false alarm rate, and all defective
photos the share that is found.
"""

from pathlib import Path

import numpy as np
from pages import markdown, parser_of, publish

from flawsight.calibration import conformal_threshold
from flawsight.evaluate.bench import DetectorRun, read_detector_runs

SPLITS = 500
RATE = 0.2  # of false alarms, promised


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


def table(out: Path) -> str:
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
    options = parser.parse_args()
    publish("calibrated", table(options.run), options.write)


if __name__ == "__main__":
    main()
