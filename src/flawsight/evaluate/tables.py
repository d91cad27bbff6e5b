"""Figures → tables: what is in them. How they are written is in table_formats.py.

Three views: each category of a data set, each data set, and the average over data sets. Figures
from papers stand in tables of their own, never among those that were measured.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TypeVar

from .metric_values import METRICS, Figure, Tally
from .published import AVERAGE, PUBLISHED_METRICS, REFERENCE, Published, published_figures

T = TypeVar("T")
UNDEFINED = "–"
_SUMMARIES = {"macro": "mean over categories", "pooled": "all images together"}
_LEVELS = ("image", "pixel", "text")


@dataclass(frozen=True)
class Table:
    """A table as text, still to be escaped.

    Attributes:
        title: what it shows.
        labels: heads of the leading columns, which hold names and counts.
        metrics: heads of the other columns, which hold percentages.
        rows: one text for each column.
        notes: what the reader must know.
    """

    title: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def all_tables(
    figures: Sequence[Figure],
    tallies: Sequence[Tally],
    published: Sequence[Published] | None = None,
) -> list[Table]:
    """Return every table in the order of reading.

    Args:
        figures: measured here.
        tallies: the images behind them.
        published: from papers; by default all that are known.
    """
    published = published_figures() if published is None else published
    datasets = _distinct(figure.dataset for figure in figures)
    tables: list[Table] = []
    for dataset in datasets:
        here = [figure for figure in figures if figure.dataset == dataset]
        categories = [figure for figure in here if figure.group not in _SUMMARIES]
        summaries = [figure for figure in here if figure.group in _SUMMARIES]
        tables += _measured(f"{dataset}, by category", "category", categories, tallies)
        tables += _measured(dataset, "over", summaries, tallies)
        tables += _published([figure for figure in published if figure.dataset == dataset], dataset)
    tables += _average(figures, tallies, datasets)
    average = _published([figure for figure in published if figure.dataset == AVERAGE], AVERAGE)
    if {figure.dataset for figure in published} & set(datasets):
        return tables + average
    # Beside data of one's own stand all published rows, first, so that one's own end the page.
    rest = [figure for figure in published if figure.dataset != AVERAGE]
    return _published(rest, "other data sets") + average + tables


def average_figures(figures: Sequence[Figure]) -> list[Figure]:
    """Return the means over data sets of the macro figures, of detectors that ran on all of them.

    A mean is undefined where one of its parts is. Data sets are independent samples, so the
    deviations of the interval's ends add up in squares. None for a single data set.
    """
    macro = {(f.detector, f.metric, f.dataset): f for f in figures if f.group == "macro"}
    datasets = _distinct(figure.dataset for figure in figures)
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
            note = f"no figure for {', '.join(absent)}" if len(absent) < len(datasets) else ""
            averages.append(Figure(AVERAGE, "macro", detector, metric, None, note=note))
            continue
        known = [part for part in parts if part is not None and part.value is not None]
        values = [part.value or 0.0 for part in known]
        mean = sum(values) / len(values)
        low = high = None
        if all(part.low is not None and part.high is not None for part in known):
            below = sum((v - (p.low or 0.0)) ** 2 for v, p in zip(values, known, strict=True))
            above = sum(((p.high or 0.0) - v) ** 2 for v, p in zip(values, known, strict=True))
            low, high = mean - below**0.5 / len(values), mean + above**0.5 / len(values)
        averages.append(Figure(AVERAGE, "macro", detector, metric, mean, low, high))
    return averages


def percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a value in [0, 1] like "85.7 [82.9, 88.4]", or "–" where there is none."""
    if value is None:
        return UNDEFINED
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value:.1f}{interval}"


def _average(
    figures: Sequence[Figure], tallies: Sequence[Tally], datasets: list[str]
) -> list[Table]:
    """The average over data sets, with what failed or is missing on all of them."""
    averages = average_figures(figures)
    title = f"Average over {', '.join(datasets)}"
    note = "Means of the macro figures; only detectors that ran on all data sets."
    tables = _measured(title, "of", averages, total_tallies(tallies))
    return [replace(table, notes=(*table.notes, note)) for table in tables]


def total_tallies(tallies: Sequence[Tally]) -> list[Tally]:
    """Add up each detector's counts over the data sets' macro groups."""
    totals: dict[str, Tally] = {}
    for tally in tallies:
        if tally.group == "macro":
            before = totals.get(tally.detector, Tally("", "", "", 0, 0, 0, 0, 0))
            sums = (a + b for a, b in zip(astuple(before)[3:], astuple(tally)[3:], strict=True))
            totals[tally.detector] = Tally(AVERAGE, "macro", tally.detector, *sums)
    return list(totals.values())


def _measured(
    title: str, group_head: str, figures: Sequence[Figure], tallies: Sequence[Tally]
) -> list[Table]:
    """One table for each of image, pixel and text, as far as there are figures."""
    counts = {(t.dataset, t.group, t.detector): t for t in tallies}
    by_key = {(f.group, f.detector, f.metric): f for f in figures}
    tables = []
    for level in _LEVELS:
        at_level = [figure for figure in figures if _level(figure.metric) == level]
        # A level that nobody speaks of, like pixels without masks, is left out; but that of images
        # never, for there it must be seen that everything failed.
        spoken_of = any(figure.value is not None or figure.note for figure in at_level)
        if not at_level or (level != "image" and not spoken_of):
            continue
        metrics = _ordered({figure.metric for figure in at_level}, METRICS)
        row_keys = _distinct((f.dataset, f.group, f.detector) for f in at_level)
        row_keys.sort(key=lambda key: _distinct(f.group for f in at_level).index(key[1]))
        lost = {key: _lost(counts.get(key)) for key in row_keys}
        notes: list[str] = []
        rows = []
        for key in row_keys:
            _, group, detector = key
            cells = [group, detector]
            cells += [lost[key] or "0"] if any(lost.values()) else []
            for metric in metrics:
                figure = by_key.get((group, detector, metric))
                cell = percent(figure.value, figure.low, figure.high) if figure else UNDEFINED
                if figure and figure.note:
                    if figure.note not in notes:
                        notes.append(figure.note)
                    cell += f" ({notes.index(figure.note) + 1})"
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


def _published(figures: Sequence[Published], what: str) -> list[Table]:
    """The published figures, those of the reference apart from those of other papers."""
    reference = [figure for figure in figures if figure.source.startswith(REFERENCE)]
    others = [figure for figure in figures if not figure.source.startswith(REFERENCE)]
    tables = []
    for author, chosen in ((REFERENCE, reference), ("other papers", others)):
        by_key = {(f.dataset, f.system, f.source, f.metric): f for f in chosen}
        several = len({figure.dataset for figure in chosen}) > 1
        for level in _LEVELS:
            at_level = [figure for figure in chosen if _level(figure.metric) == level]
            metrics = _ordered({figure.metric for figure in at_level}, PUBLISHED_METRICS)
            supervision = {(f.dataset, f.system, f.source): f.supervision for f in at_level}
            rows = []
            for (dataset, system, source), labels_used in supervision.items():
                found = [by_key.get((dataset, system, source, metric)) for metric in metrics]
                names = (system, labels_used, source)
                cells = tuple(percent(figure.value if figure else None) for figure in found)
                rows.append((*((dataset,) if several else ()), *names, *cells))
            labels = (*(("data set",) if several else ()), "system", "trained on", "source")
            title = f"Published ({author}; not run here): {what}, {level}"
            heads = tuple(PUBLISHED_METRICS.get(metric, metric) for metric in metrics)
            notes = (_AS_PUBLISHED,) if "image_auroc_published" in metrics else ()
            if rows:
                tables.append(Table(title, labels, heads, tuple(rows), notes))
    return tables


_LOST = "Images that failed count as wrong; missing ones, not yet run, are in no figure."
_AS_PUBLISHED = (
    "The image “AUROC” as published fits the balanced accuracy of hard answers; do not compare it "
    "with an image AUROC of scores."
)


def _level(metric: str) -> str:
    level = metric.split("_")[0]
    return level if level in _LEVELS else "text"


def _lost(tally: Tally | None) -> str:
    counts = {"failed": tally.failed, "missing": tally.missing} if tally else {}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _ordered(metrics: set[str], names: dict[str, str]) -> list[str]:
    return [name for name in names if name in metrics] + sorted(metrics - set(names))


def _distinct(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
