"""The learning curve: how well a detector does by the number of good photos that it has learned.

Each point is the mean over draws of so many photos, with the standard deviation over the draws.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import mean, stdev
from typing import Any

from ..errors import SettingsError
from ..runs.read import read_description
from .bench import DetectorRun
from .detectors.spec import Spec
from .metric_values import METRICS, MetricValue
from .tables import UNDEFINED, Table

FOLDER = "learning-curve"
_NAME = re.compile(r"(.*) · (\d+|all) good(?:, draw \d+)?")
CURVE = (
    "image_auroc", "image_balanced_accuracy", "pixel_auroc", "pixel_aupr", "pixel_aupro",
)  # fmt: skip
# Measured in addition to the metrics of a bench.
FALSE_ALARMS, PROMISED = "false_alarms", "promised"
SHOWN = {name: METRICS[name] for name in CURVE[:2]} | {
    FALSE_ALARMS: "false alarms",
    PROMISED: "promised",
} | {name: METRICS[name] for name in CURVE[2:]}  # fmt: skip


@dataclass(frozen=True)
class CurvePoint:
    """A value of one detector on one data set at one number of good photos.

    Attributes:
        dataset, detector: names.
        photos: number of good photos of each category, or the mean of it for "all".
        every: whether these are all there are.
        metric: key of `SHOWN`.
        value: mean over the draws of the mean over categories; None if it is undefined.
        deviation: standard deviation over the draws; None of a single one.
        draws: how many.
    """

    dataset: str
    detector: str
    photos: float
    every: bool
    metric: str
    value: float | None
    deviation: float | None
    draws: int


def parse_counts(text: str) -> list[int | None]:
    """Return the numbers of "1,2,4,all"; None is all.

    Raises:
        SettingsError: for anything else, or a number below 1.
    """
    counts: list[int | None] = []
    for word in (part.strip() for part in text.split(",")):
        if word != "all" and not (word.isdecimal() and int(word) >= 1):
            raise SettingsError(
                f"--learning-curve takes numbers of good photos like 1,2,4,8,16,all; not {word!r}."
            )
        counts.append(None if word == "all" else int(word))
    return list(dict.fromkeys(counts))


def curve_specs(spec: Spec, counts: Sequence[int | None], draws: int) -> list[Spec]:
    """Return a detector with so many good photos each, drawn several times.

    Only `explain` "never" is quick: each image is then encoded once for all of them. It is taken
    unless the detector says otherwise.

    Raises:
        SettingsError: if the detector cannot learn, or has a reference already.
    """
    if spec.kind != "flawsight" or "reference" in spec.options:
        raise SettingsError(
            f"{spec.text!r} has no learning curve; give flawsight with any model and settings, and "
            "without a reference."
        )
    found = []
    for count in counts:
        for seed in range(1 if count is None else draws):
            number = "all" if count is None else count
            own = {"reference": number, "seed": spec.options.get("seed", 0) + seed}
            name = f"{spec.name} · {number} good{'' if count is None else f', draw {seed + 1}'}"
            options = {"explain": "never"} | spec.options | own | {"name": name}
            found.append(replace(spec, options=options))
    return found


def curve_points(runs: Sequence[DetectorRun], values: Sequence[MetricValue]) -> list[CurvePoint]:
    """Return the points of all curves, by data set, detector, metric and number of photos.

    Args:
        runs: of `curve_specs`.
        values: of the same.
    """
    macro = {(v.dataset, v.detector, v.metric): v.value for v in values if v.group == "macro"}
    found: dict[tuple[str, str, str], dict[str, list[float | None]]] = defaultdict(
        lambda: defaultdict(list)
    )
    photos: dict[tuple[str, str, str], float] = {}
    for run in runs:
        if (match := _NAME.fullmatch(run.detector)) is None:
            continue
        key = (run.dataset, match[1], match[2])
        references = read_description(run.folder).get("references") or {}
        photos[key] = mean(one["photos"] for one in references.values()) if references else 0.0
        for metric in CURVE:
            found[key][metric].append(macro.get((run.dataset, run.detector, metric)))
        found[key][FALSE_ALARMS].append(false_alarms(run))
        found[key][PROMISED].append(_mean([one["promised"] for one in references.values()]))
    points = [
        CurvePoint(
            key[0], key[1], photos[key], key[2] == "all", metric, _mean(drawn), _spread(drawn),
            len(drawn),
        )
        for key, by_metric in found.items()
        for metric, drawn in by_metric.items()
    ]  # fmt: skip
    names = list(SHOWN)
    return sorted(
        points, key=lambda p: (p.dataset, p.detector, names.index(p.metric), p.photos, p.every)
    )


def false_alarms(run: DetectorRun) -> float | None:
    """Return the share of good images called defective, as the mean over categories."""
    rows = run.rows()
    by_category: dict[str, list[bool]] = defaultdict(list)
    for sample in run.samples:
        label = rows.get(str(sample.image), {}).get("pred_label")
        if sample.label == 0 and label is not None:
            by_category[sample.category].append(bool(label))
    return mean(map(mean, by_category.values())) if by_category else None


def curve_tables(points: Sequence[CurvePoint]) -> list[Table]:
    """Return one table per data set, with one row per detector and number of photos."""
    tables = []
    for dataset in dict.fromkeys(point.dataset for point in points):
        here = [point for point in points if point.dataset == dataset]
        metrics = [m for m in SHOWN if any(p.metric == m and p.value is not None for p in here)]
        heads = dict.fromkeys((p.detector, p.photos, p.every, p.draws) for p in here)
        by_key = {(p.detector, p.photos, p.every, p.metric): p for p in here}
        rows = [
            (
                detector,
                f"{'all, ' if every else ''}{photos:.3g}",
                str(draws),
                *(_cell(by_key.get((detector, photos, every, metric))) for metric in metrics),
            )
            for detector, photos, every, draws in heads
        ]
        notes = (
            "Means over the draws ± their standard deviation, each the mean over categories.",
            "Promised: the share of good images that the photos' own scores allow to be called "
            "defective; false alarms: the share that is. One photo promises nothing.",
        )
        labels = ("detector", "good photos", "draws")
        shown = tuple(SHOWN[metric] for metric in metrics)
        tables.append(Table(f"{dataset}: learning curve", labels, shown, tuple(rows), notes))
    return tables


def curve_csv(points: Sequence[CurvePoint]) -> str:
    """Return one point per line; values are in [0, 1] in full precision, and empty if undefined."""
    text = io.StringIO()
    columns = [field.name for field in fields(CurvePoint)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    rows: list[dict[str, Any]] = [asdict(point) for point in points]
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    return text.getvalue()


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


def _spread(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) > 1 and len(known) == len(values) else None


def _cell(point: CurvePoint | None) -> str:
    if point is None or point.value is None:
        return UNDEFINED
    spread = "" if point.deviation is None else f" ± {100 * point.deviation:.1f}"
    return f"{100 * point.value:.1f}{spread}"
