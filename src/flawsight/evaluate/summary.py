"""What a bench of one's own photos found, on one screen: 80 columns, and few lines."""

from collections.abc import Sequence
from pathlib import Path

from ..data.catalog import BENCHMARKS, find_benchmark
from ..data.layouts import read_kolektor, read_visa
from .confusion import Confusion, RunVerdicts
from .metric_values import METRICS, GroupCounts, MetricValue
from .tables import UNDEFINED, Table, lost_text, percent

_SHOWN = ("image_auroc", "image_balanced_accuracy", "pixel_auroc", "rouge_l")
_HEADS = {"image_auroc": "AUROC", "image_balanced_accuracy": "bal. ACC"}
# Runs with lines below the table, so that all fits on one screen.
NAMED = 4


def summary_table(verdicts: Sequence[RunVerdicts], values: Sequence[MetricValue]) -> Table:
    """Return one row per detector run, over all its images, without empty columns.

    Args:
        verdicts: of the runs.
        values: of the same.
    """
    pooled = {(v.dataset, v.detector, v.metric): v.value for v in values if v.group == "pooled"}
    keys = [(one.run.dataset, one.run.detector) for one in verdicts]
    metrics = [m for m in _SHOWN if any(pooled.get((*key, m)) is not None for key in keys)]
    several = len({dataset for dataset, _ in keys}) > 1
    rows = [
        (
            *(key if several else key[1:]),
            *_counts(one.now),
            *(percent(pooled.get((*key, metric))) for metric in metrics),
        )
        for key, one in zip(keys, verdicts, strict=True)
    ]
    labels = (*(("data set",) if several else ()), "detector")
    counts = ("TP", "FP", "FN", "TN")
    heads = (*counts, *(_HEADS.get(metric, METRICS[metric]) for metric in metrics))
    said = (v.note for v in values if v.group == "pooled" and v.metric in metrics and v.note)
    legend = ("TP, FN: defective photos called", "defective, good. FP, TN: good ones.")
    notes = (*legend, *dict.fromkeys(said))
    title = "All photos" if several else f"{keys[0][0]}: {len(verdicts[0].run.samples)} photos"
    return Table(title, labels, heads, tuple(rows), notes)


def suggestions(verdicts: Sequence[RunVerdicts], counts: Sequence[GroupCounts]) -> list[str]:
    """Return lines with the suggested threshold of each run, and what it lost; of the first few."""
    lost = {(c.dataset, c.detector): lost_text(c) for c in counts if c.group == "pooled"}
    lines = []
    for one in verdicts[:NAMED]:
        if text := lost.get((one.run.dataset, one.run.detector)):
            lines.append(f"{one.run.detector}: {text}.")
        if one.suggested is None or one.then is None:
            lines.append(f"{one.run.detector}: a threshold needs scores of good and defective.")
            continue
        cells = zip(("TP", "FP", "FN", "TN"), _counts(one.then), strict=True)
        then = " ".join(f"{name} {count}" for name, count in cells)
        lines.append(f"{one.run.detector}: suggested threshold {one.suggested:.15g} ({then})")
    return lines


def _counts(one: Confusion) -> tuple[str, ...]:
    """Return TP, FP, FN and TN; dashes for a detector without verdicts."""
    counts = (one.true_positives, one.false_positives, one.false_negatives, one.true_negatives)
    return tuple(map(str, counts)) if any(counts) or one.failed else (UNDEFINED,) * len(counts)


def is_published(name: str, root: Path) -> bool:
    """Whether a data set is a published one, by its name, its folder's name or its layout."""
    names = {name.lower(), root.name.lower()}
    if find_benchmark(name) or any(names & {f.lower() for f in b.folders} for b in BENCHMARKS):
        return True
    # Their other layouts are those of anyone's photos.
    return root.is_dir() and any(read(root) for read in (read_visa, read_kolektor))
