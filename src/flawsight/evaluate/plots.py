"""Figures of an ablation → pictures: how the map depends on τ_t, τ_i, α and the layer."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError
from .metric_values import METRICS, Figure

SHOWN = ("pixel_auroc", "pixel_aupr")
_SWEPT = re.compile(r"(?:^|· )(tau_t|tau_i|alpha|layer) ([\d.]+)$")
_TITLES = {"tau_t": "τ_t", "tau_i": "τ_i", "alpha": "α (β = 1 − α)", "layer": "layer"}


def draw_sweeps(figures: Iterable[Figure], folder: Path) -> list[Path]:
    """Draw the macro figures of each data set's swept detectors, with their intervals.

    Args:
        figures: of a bench; detectors called "… tau_t 0.25" and the like are points of a curve.
        folder: where ``sweep-DATASET.png`` go.

    Returns:
        The pictures; none if nothing was swept.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    points: dict[str, dict[str, dict[str, list[Figure]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for figure in figures:
        swept = _SWEPT.search(figure.detector)
        if (
            swept
            and figure.group == "macro"
            and figure.metric in SHOWN
            and figure.value is not None
        ):
            points[figure.dataset][swept[1]][figure.metric].append(figure)
    return [_draw(dataset, points[dataset], folder) for dataset in sorted(points)]


def _draw(dataset: str, swept: dict[str, dict[str, list[Figure]]], folder: Path) -> Path:
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench") from error
    names = [name for name in _TITLES if name in swept]
    canvas = Canvas(figsize=(3.4 * len(names), 5), layout="constrained")
    axes: Any = canvas.subplots(len(SHOWN), len(names), squeeze=False, sharey="row")
    for row, metric in enumerate(SHOWN):
        axes[row, 0].set_ylabel(METRICS[metric])
        for column, name in enumerate(names):
            curve = sorted(swept[name][metric], key=_position)
            panel, at = axes[row, column], [_position(figure) for figure in curve]
            panel.plot(at, [figure.value for figure in curve], marker="o")
            known = [f for f in curve if f.low is not None]
            panel.fill_between(
                [_position(f) for f in known], [f.low for f in known], [f.high for f in known],
                alpha=0.2,
            )  # fmt: skip
            panel.grid(alpha=0.3)
            if name == "layer":
                panel.xaxis.get_major_locator().set_params(integer=True)
            if row == len(SHOWN) - 1:
                panel.set_xlabel(_TITLES[name])
    canvas.suptitle(f"{dataset}: one change from preset paper; band: 95 % over images")
    path = folder / f"sweep-{re.sub(r'[^A-Za-z0-9_.-]+', '-', dataset)}.png"
    canvas.savefig(path, dpi=110)
    return path


def _position(figure: Figure) -> float:
    swept = _SWEPT.search(figure.detector)
    assert swept is not None
    return float(swept[2])
