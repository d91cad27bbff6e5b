"""Metric values → tables as text; table_formats.py writes them.

Three views: the categories of each data set, each data set, and the average over data sets. Values
from papers are in separate tables.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TypeVar

import numpy as np

from .metric_values import METRICS, GroupCounts, MetricValue
from .published import AVERAGE, PUBLISHED_METRICS, REFERENCE, PublishedValue, published_values

T = TypeVar("T")
Value = TypeVar("Value", MetricValue, PublishedValue)
UNDEFINED = "–"
_SUMMARIES = {"macro": "mean over categories", "pooled": "all images together"}
# Tables, and how the names of their metrics begin.
_LEVELS: dict[str, tuple[str, ...]] = {
    "image": ("image",),
    "pixel": ("pixel", "region"),
    "text": ("rouge", "sbert", "contradiction"),
}
_LOST = "Failed images count as wrong; missing ones, not yet run, are left out."
_AVERAGED = "Means of the macro values; only detectors that ran on all data sets."
_AS_PUBLISHED = (
    "The image “AUROC” as published fits the balanced accuracy of hard answers; do not compare it "
    "with an image AUROC of scores."
)


@dataclass(frozen=True)
class Table:
    """A table as text, not yet escaped.

    Attributes:
        title: what it shows.
        labels: heads of the leading columns, which hold names and counts.
        metrics: heads of the other columns, which hold percentages.
        rows: one text for each column.
        notes: sentences below the table.
    """

    title: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def all_tables(
    values: Sequence[MetricValue],
    counts: Sequence[GroupCounts],
    published: Sequence[PublishedValue] | None = None,
) -> list[Table]:
    """Return every table in reading order.

    Args:
        values: measured here.
        counts: of the images behind them.
        published: from papers; None takes all known ones.
    """
    published = published_values() if published is None else published
    datasets = _distinct(value.dataset for value in values)
    tables: list[Table] = []
    for dataset in datasets:
        here = [value for value in values if value.dataset == dataset]
        categories = [value for value in here if value.group not in _SUMMARIES]
        summaries = [value for value in here if value.group in _SUMMARIES]
        tables += _measured(f"{dataset}, by category", "category", categories, counts)
        tables += _measured(dataset, "over", summaries, counts)
        tables += _published([value for value in published if value.dataset == dataset], dataset)
    title = f"Average over {', '.join(datasets)}"
    for table in _measured(title, "of", average_values(values), total_counts(counts)):
        tables.append(replace(table, notes=(*table.notes, _AVERAGED)))
    average = _published([value for value in published if value.dataset == AVERAGE], AVERAGE)
    if {value.dataset for value in published} & set(datasets):
        return tables + average
    # For other data sets all published rows come first, so the user's own tables end the page.
    rest = [value for value in published if value.dataset != AVERAGE]
    return _published(rest, "other data sets") + average + tables


def average_values(values: Sequence[MetricValue]) -> list[MetricValue]:
    """Return the means over data sets of the macro values, of detectors that ran on all of them.

    A mean is undefined if one of its parts is. Data sets are independent samples, so the
    deviations of the interval's ends add up in squares. A single data set has no average.
    """
    datasets = _distinct(value.dataset for value in values)
    if len(datasets) < 2:
        return []
    macro: dict[tuple[str, str], list[MetricValue]] = {}
    for value in values:
        if value.group == "macro":
            macro.setdefault((value.detector, value.metric), []).append(value)
    averages = []
    for (detector, metric), parts in macro.items():
        count = len(parts)
        if count < len(datasets):
            continue
        absent = [part.dataset for part in parts if part.value is None]
        if absent:
            note = f"no value for {', '.join(absent)}" if len(absent) < count else ""
            averages.append(MetricValue(AVERAGE, "macro", detector, metric, None, note=note))
            continue
        points, lows, highs = (
            np.array([getattr(part, name) for part in parts], np.float64)
            for name in ("value", "low", "high")
        )
        mean = float(points.sum()) / count
        low = high = None
        if not np.isnan([lows, highs]).any():
            low = mean - float(((points - lows) ** 2).sum()) ** 0.5 / count
            high = mean + float(((highs - points) ** 2).sum()) ** 0.5 / count
        averages.append(MetricValue(AVERAGE, "macro", detector, metric, mean, low, high))
    return averages


def total_counts(counts: Sequence[GroupCounts]) -> list[GroupCounts]:
    """Add up each detector's counts over the data sets' macro groups."""
    totals: dict[str, GroupCounts] = {}
    for one in counts:
        if one.group == "macro":
            before = totals.get(one.detector, GroupCounts("", "", "", 0, 0, 0, 0, 0))
            sums = (a + b for a, b in zip(astuple(before)[3:], astuple(one)[3:], strict=True))
            totals[one.detector] = GroupCounts(AVERAGE, "macro", one.detector, *sums)
    return list(totals.values())


def percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a value in [0, 1] like "85.7 [82.9, 88.4]", or "–" if there is none."""
    if value is None:
        return UNDEFINED
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value:.1f}{interval}"


def _measured(
    title: str, group_head: str, values: Sequence[MetricValue], counts: Sequence[GroupCounts]
) -> list[Table]:
    """One table for each of image, pixel and text that has values; all of one data set."""
    tables = []
    for level, at_level in _by_level(values):
        # An empty level, like pixels without masks, is left out; but never that of images, which
        # shows that everything failed.
        if level != "image" and all(v.value is None and not v.note for v in at_level):
            continue
        by_key = {(v.group, v.detector, v.metric): v for v in at_level}
        given = {v.metric for v in at_level if v.value is not None or v.note}
        given = given or {v.metric for v in at_level}
        metrics = [metric for metric in METRICS if metric in given]
        groups = _distinct(v.group for v in at_level)
        heads = _distinct((v.group, v.detector) for v in at_level)
        heads.sort(key=lambda head: groups.index(head[0]))
        lost_of = {(c.dataset, c.group, c.detector): lost_text(c) for c in counts}
        lost = [lost_of.get((at_level[0].dataset, *head), "") for head in heads]
        cells = [[by_key.get((*head, metric)) for metric in metrics] for head in heads]
        notes = _distinct(v.note for row in cells for v in row if v and v.note)
        rows = [
            (*head, *((one_lost or "0",) if any(lost) else ()), *(_cell(v, notes) for v in row))
            for head, one_lost, row in zip(heads, lost, cells, strict=True)
        ]
        labels = (group_head, "detector", *(("failed or missing",) if any(lost) else ()))
        ending = [f"({number}) {note}" for number, note in enumerate(notes, start=1)]
        if any(lost):
            ending.append(_LOST)
        if meanings := [f"{name}: {_SUMMARIES[name]}" for name in groups if name in _SUMMARIES]:
            ending.append(f"{'; '.join(meanings)}.")
        shown = tuple(METRICS[metric] for metric in metrics)
        tables.append(Table(f"{title}: {level}", labels, shown, tuple(rows), tuple(ending)))
    return tables


def _published(values: Sequence[PublishedValue], what: str) -> list[Table]:
    """The published values, those of the reference apart from those of other papers."""
    reference = [value for value in values if value.source.startswith(REFERENCE)]
    others = [value for value in values if not value.source.startswith(REFERENCE)]
    tables = []
    for author, chosen in ((REFERENCE, reference), ("other papers", others)):
        several = len({value.dataset for value in chosen}) > 1
        labels = (*(("data set",) if several else ()), "system", "trained on", "source")
        for level, at_level in _by_level(chosen):
            by_key = {(v.dataset, v.system, v.source, v.metric): v.value for v in at_level}
            supervision = {(v.dataset, v.system, v.source): v.supervision for v in at_level}
            metrics = [m for m in PUBLISHED_METRICS if any(v.metric == m for v in at_level)]
            rows = []
            for (dataset, system, source), trained_on in supervision.items():
                names = (*((dataset,) if several else ()), system, trained_on, source)
                found = (by_key.get((dataset, system, source, metric)) for metric in metrics)
                rows.append((*names, *map(percent, found)))
            title = f"Published ({author}; not run here): {what}, {level}"
            heads = tuple(PUBLISHED_METRICS[metric] for metric in metrics)
            notes = (_AS_PUBLISHED,) if "image_auroc_published" in metrics else ()
            tables.append(Table(title, labels, heads, tuple(rows), notes))
    return tables


def _by_level(values: Sequence[Value]) -> Iterator[tuple[str, list[Value]]]:
    """Yield the values of images, pixels and text; no level without any."""
    for level, prefixes in _LEVELS.items():
        if at_level := [value for value in values if value.metric.startswith(prefixes)]:
            yield level, at_level


def _cell(value: MetricValue | None, notes: Sequence[str]) -> str:
    if value is None:
        return UNDEFINED
    number = f" ({notes.index(value.note) + 1})" if value.note else ""
    return percent(value.value, value.low, value.high) + number


def lost_text(counts: GroupCounts) -> str:
    """Return how many images failed and are missing, like "1 failed, 2 missing"; "" if none."""
    lost = {"failed": counts.failed, "missing": counts.missing}
    return ", ".join(f"{count} {name}" for name, count in lost.items() if count)


def _distinct(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
