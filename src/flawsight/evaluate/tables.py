"""Metric values → tables as text; table_formats.py writes them.

Three views: the categories of each data set, each data set, and the average over data sets. Values
from papers have tables of their own, never mixed with those measured here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TypeVar

from .metric_values import METRICS, GroupCounts, MetricValue
from .published import AVERAGE, PUBLISHED_METRICS, REFERENCE, PublishedValue, published_values

T = TypeVar("T")
UNDEFINED = "–"
_SUMMARIES = {"macro": "mean over categories", "pooled": "all images together"}
_LEVELS = ("image", "pixel", "text")
_LOST = "Failed images count as wrong; missing ones, not yet run, are left out."
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
    tables += _average(values, counts, datasets)
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
    macro = {(v.detector, v.metric, v.dataset): v for v in values if v.group == "macro"}
    datasets = _distinct(value.dataset for value in values)
    if len(datasets) < 2:
        return []
    averages = []
    for detector, metric in _distinct((detector, metric) for detector, metric, _ in macro):
        parts = [macro.get((detector, metric, dataset)) for dataset in datasets]
        ran = {dataset for name, _, dataset in macro if name == detector}
        if len(ran) < len(datasets):
            continue
        absent = [d for d, p in zip(datasets, parts, strict=True) if p is None or p.value is None]
        if absent:
            note = f"no value for {', '.join(absent)}" if len(absent) < len(datasets) else ""
            averages.append(MetricValue(AVERAGE, "macro", detector, metric, None, note=note))
            continue
        known = [part for part in parts if part is not None and part.value is not None]
        points = [part.value or 0.0 for part in known]
        mean = sum(points) / len(points)
        low = high = None
        if all(part.low is not None and part.high is not None for part in known):
            below = sum((v - (p.low or 0.0)) ** 2 for v, p in zip(points, known, strict=True))
            above = sum(((p.high or 0.0) - v) ** 2 for v, p in zip(points, known, strict=True))
            low, high = mean - below**0.5 / len(points), mean + above**0.5 / len(points)
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


def _average(
    values: Sequence[MetricValue], counts: Sequence[GroupCounts], datasets: list[str]
) -> list[Table]:
    """The average over data sets, with what failed or is missing on all of them."""
    title = f"Average over {', '.join(datasets)}"
    note = "Means of the macro values; only detectors that ran on all data sets."
    tables = _measured(title, "of", average_values(values), total_counts(counts))
    return [replace(table, notes=(*table.notes, note)) for table in tables]


def _measured(
    title: str, group_head: str, values: Sequence[MetricValue], counts: Sequence[GroupCounts]
) -> list[Table]:
    """One table for each of image, pixel and text that has values."""
    counts_of = {(c.dataset, c.group, c.detector): c for c in counts}
    by_key = {(v.group, v.detector, v.metric): v for v in values}
    tables = []
    for level in _LEVELS:
        at_level = [value for value in values if _level(value.metric) == level]
        # An empty level, like pixels without masks, is left out; but never that of images, which
        # shows that everything failed.
        empty = all(value.value is None and not value.note for value in at_level)
        if not at_level or (level != "image" and empty):
            continue
        metrics = _ordered({value.metric for value in at_level}, METRICS)
        row_keys = _distinct((v.dataset, v.group, v.detector) for v in at_level)
        row_keys.sort(key=lambda key: _distinct(v.group for v in at_level).index(key[1]))
        lost = {key: _lost(counts_of.get(key)) for key in row_keys}
        notes: list[str] = []
        rows = []
        for key in row_keys:
            _, group, detector = key
            cells = [group, detector]
            cells += [lost[key] or "0"] if any(lost.values()) else []
            for metric in metrics:
                value = by_key.get((group, detector, metric))
                cell = percent(value.value, value.low, value.high) if value else UNDEFINED
                if value and value.note:
                    if value.note not in notes:
                        notes.append(value.note)
                    cell += f" ({notes.index(value.note) + 1})"
                cells.append(cell)
            rows.append(tuple(cells))
        labels = (group_head, "detector", *(("failed or missing",) if any(lost.values()) else ()))
        ending = [f"({number}) {note}" for number, note in enumerate(notes, start=1)]
        if any(lost.values()):
            ending.append(_LOST)
        shown = _distinct(group for _, group, _ in row_keys)
        meanings = [f"{name}: {_SUMMARIES[name]}" for name in shown if name in _SUMMARIES]
        if meanings:
            ending.append(f"{'; '.join(meanings)}.")
        heads = tuple(METRICS.get(metric, metric) for metric in metrics)
        tables.append(Table(f"{title}: {level}", labels, heads, tuple(rows), tuple(ending)))
    return tables


def _published(values: Sequence[PublishedValue], what: str) -> list[Table]:
    """The published values, those of the reference apart from those of other papers."""
    reference = [value for value in values if value.source.startswith(REFERENCE)]
    others = [value for value in values if not value.source.startswith(REFERENCE)]
    tables = []
    for author, chosen in ((REFERENCE, reference), ("other papers", others)):
        by_key = {(v.dataset, v.system, v.source, v.metric): v for v in chosen}
        several = len({value.dataset for value in chosen}) > 1
        for level in _LEVELS:
            at_level = [value for value in chosen if _level(value.metric) == level]
            metrics = _ordered({value.metric for value in at_level}, PUBLISHED_METRICS)
            supervision = {(v.dataset, v.system, v.source): v.supervision for v in at_level}
            rows = []
            for (dataset, system, source), labels_used in supervision.items():
                found = [by_key.get((dataset, system, source, metric)) for metric in metrics]
                names = (system, labels_used, source)
                cells = tuple(percent(value.value if value else None) for value in found)
                rows.append((*((dataset,) if several else ()), *names, *cells))
            labels = (*(("data set",) if several else ()), "system", "trained on", "source")
            title = f"Published ({author}; not run here): {what}, {level}"
            heads = tuple(PUBLISHED_METRICS.get(metric, metric) for metric in metrics)
            notes = (_AS_PUBLISHED,) if "image_auroc_published" in metrics else ()
            if rows:
                tables.append(Table(title, labels, heads, tuple(rows), notes))
    return tables


def _level(metric: str) -> str:
    level = metric.split("_")[0]
    return level if level in _LEVELS else "text"


def _lost(counts: GroupCounts | None) -> str:
    lost = {"failed": counts.failed, "missing": counts.missing} if counts else {}
    return ", ".join(f"{count} {name}" for name, count in lost.items() if count)


def _ordered(metrics: set[str], names: dict[str, str]) -> list[str]:
    return [name for name in names if name in metrics] + sorted(metrics - set(names))


def _distinct(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
