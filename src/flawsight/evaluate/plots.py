"""Pictures of results: metric values of an ablation, and the scores behind a calibration."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CalibrationError, MissingExtraError
from .learning_curve import FALSE_ALARMS, PROMISED, CurvePoint
from .learning_curve import SHOWN as SHOWN_OF_CURVE
from .metric_values import METRICS, MetricValue

SHOWN = ("pixel_auroc", "pixel_aupr")
BINS = 40
_SWEPT = re.compile(r"(?:^|· )(tau_t|tau_i|alpha|layer) ([\d.]+)$")
# Of each swept name and metric: positions on the axis and values there.
_Curves = dict[tuple[str, str], list[tuple[float, MetricValue]]]
_TITLES = {"tau_t": "τ_t", "tau_i": "τ_i", "alpha": "α (β = 1 − α)", "layer": "layer"}


def draw_sweeps(values: Iterable[MetricValue], folder: Path) -> list[Path]:
    """Plot how the map depends on τ_t, τ_i, α and the layer, one picture per data set.

    Args:
        values: of a bench; detectors called "… tau_t 0.25" and the like are points of a curve,
            with their macro values and intervals.
        folder: for ``sweep-DATASET.png``.

    Returns:
        The pictures; none if nothing was swept.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    points: dict[str, _Curves] = defaultdict(lambda: defaultdict(list))
    for one in values:
        swept = _SWEPT.search(one.detector)
        if swept and one.group == "macro" and one.metric in SHOWN and one.value is not None:
            points[one.dataset][swept[1], one.metric].append((float(swept[2]), one))
    return [_draw_sweep(dataset, points[dataset], folder) for dataset in sorted(points)]


def draw_learning_curves(points: Sequence[CurvePoint], folder: Path) -> list[Path]:
    """Plot each metric against the number of good photos, one picture per data set.

    Args:
        points: of `curve_points`.
        folder: for ``learning-curve-DATASET.png``.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    return [
        _draw_learning_curve(dataset, [one for one in points if one.dataset == dataset], folder)
        for dataset in dict.fromkeys(point.dataset for point in points)
    ]


def draw_histogram(
    path: Path, scores: Sequence[float], threshold: float, false_alarm_rate: float
) -> None:
    """Write a PNG of the histogram of normal images' scores, with the threshold as a line.

    Args:
        path: of the PNG.
        scores: at least one, of normal images.
        threshold: a part is defective iff its score is above it.
        false_alarm_rate: the target of the calibration, in (0, 1).

    Raises:
        MissingExtraError: if matplotlib is not installed.
        CalibrationError: if the picture cannot be written.
    """
    low, high = min(0.0, *scores), max(1.0, *scores)
    figure = new_figure(7, 3.6)
    axes = figure.add_subplot()
    axes.hist(scores, bins=np.linspace(low, high, BINS + 1).tolist(), color="#4a7ebb")
    above = sum(score > threshold for score in scores)
    axes.axvline(
        threshold,
        color="#c0392b",
        label=f"threshold {threshold:.3g}: {above} of {len(scores)} above",
    )
    axes.set_xlim(low - 0.01 * (high - low), high + 0.01 * (high - low))
    axes.set_xlabel("pred_score of normal images")
    axes.set_ylabel("images")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"False alarm rate at most {100 * false_alarm_rate:g} %", fontsize="medium")
    # Outside of the axes it hides neither bars nor the line.
    figure.legend(loc="outside lower center", frameon=False)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise CalibrationError(f"Cannot write {path}: {error.strerror or error}.") from error


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, without matplotlib's global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench") from error
    return Figure(figsize=(width, height), layout="constrained")


def _draw_learning_curve(dataset: str, points: Sequence[CurvePoint], folder: Path) -> Path:
    known = [one for one in points if one.value is not None]
    metrics = [m for m in SHOWN_OF_CURVE if m != PROMISED and any(one.metric == m for one in known)]
    columns = max(1, min(3, len(metrics)))
    rows = max(1, -(-len(metrics) // columns))
    figure = new_figure(3.6 * columns, 0.6 + 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    ticks = sorted({one.photos for one in known})
    detectors = list(dict.fromkeys(one.detector for one in known))
    for panel, metric in zip(panels, metrics, strict=False):
        for index, detector in enumerate(detectors):
            for shown, style in ((metric, "o-"), (PROMISED, "s:")):
                if shown == PROMISED and metric != FALSE_ALARMS:
                    continue
                curve = [one for one in known if (one.detector, one.metric) == (detector, shown)]
                values = np.array([(p.photos, 100 * (p.value or 0), 100 * (p.deviation or 0))
                                   for p in curve]).reshape(-1, 3)  # fmt: skip
                at, height, spread = values.T
                label = f"{detector}: promised" if shown == PROMISED else detector
                panel.plot(at, height, style, color=f"C{index}", label=label)
                panel.fill_between(at, height - spread, height + spread, alpha=0.2)
        panel.set_title(SHOWN_OF_CURVE[metric], fontsize="medium")
        panel.set_xscale("log", base=2)
        panel.set_xticks(ticks, [f"{one:.3g}" for one in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.set_ylabel("%")
        panel.set_xlabel("good photos")
        if metric == FALSE_ALARMS or len(detectors) > 1:
            panel.legend(fontsize="x-small")
    for panel in panels[len(metrics) :]:
        panel.set_visible(False)
    figure.suptitle(f"{dataset}: mean over draws; band: standard deviation")
    path = folder / f"learning-curve-{re.sub(r'[^A-Za-z0-9_.-]+', '-', dataset)}.png"
    figure.savefig(path, dpi=110)
    return path


def _draw_sweep(dataset: str, curves: _Curves, folder: Path) -> Path:
    names = [name for name in _TITLES if any(swept == name for swept, _ in curves)]
    figure = new_figure(3.4 * len(names), 5)
    axes = figure.subplots(len(SHOWN), len(names), squeeze=False, sharey="row")
    for row, metric in enumerate(SHOWN):
        axes[row, 0].set_ylabel(METRICS[metric])
        for column, name in enumerate(names):
            curve = sorted(curves[name, metric], key=lambda point: point[0])
            panel = axes[row, column]
            panel.plot([at for at, _ in curve], [one.value for _, one in curve], marker="o")
            known = [(at, one.low, one.high) for at, one in curve if one.low is not None]
            panel.fill_between(*np.array(known, np.float64).reshape(-1, 3).T, alpha=0.2)
            panel.grid(alpha=0.3)
            if name == "layer":
                panel.xaxis.get_major_locator().set_params(integer=True)
            if row == len(SHOWN) - 1:
                panel.set_xlabel(_TITLES[name])
    figure.suptitle(f"{dataset}: one change from preset paper; band: 95 % over images")
    path = folder / f"sweep-{re.sub(r'[^A-Za-z0-9_.-]+', '-', dataset)}.png"
    figure.savefig(path, dpi=110)
    return path
