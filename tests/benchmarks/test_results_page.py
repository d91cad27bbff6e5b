"""docs/results.md shows the columns and rows that the benchmarks print."""

import csv
import re
from pathlib import Path

import bench_table
import cgro_ablation
import localize_steps
import metric_speed
import numpy as np
import pytest
import serve_load
import token_selection
import training_speed
from pages import DOCS, markdown

from flawsight.evaluate.metric_values import METRICS

PAGE = (DOCS / "results.md").read_text()
Rows = list[list[str]]


def section(name: str) -> str:
    found = re.search(rf"<!-- begin {name} -->\n(.*?)<!-- end {name} -->", PAGE, flags=re.DOTALL)
    assert found is not None
    return found[1]


def tables(text: str) -> list[Rows]:
    """Return the cells of each table, its header first."""
    found: list[Rows] = [[]]
    for line in text.splitlines():
        if line.startswith("|---"):
            continue
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line[1:-1].split("|")])
        elif found[-1]:
            found.append([])
    return [rows for rows in found if rows]


def named(text: str, columns: int = 1) -> list[tuple[list[str], Rows]]:
    """Return each table's header, and the first cells of its rows."""
    return [(header, [row[:columns] for row in rows]) for header, *rows in tables(text)]


@pytest.mark.parametrize(
    ("name", "datasets"),
    [
        ("rendered", ["kinds", "unseen"]),
        ("real", ["BSData", "DeepPCB", "DobotCubes", "KolektorSDD", "MagneticTile"]),
    ],
)
def test_a_bench_is_shown_as_printed(name: str, datasets: list[str], tmp_path: Path) -> None:
    page = section(name)
    counts = dict(re.findall(r"(\w+), (\d+) \+ ", page))
    fixed = {"source": "ours", "group": "pooled", "value": 0.5, "failed": 0}
    rows = [
        {**fixed, "dataset": dataset, "system": system, "metric": metric}
        | {"normal": normal, "defective": 10}
        for dataset, normal in [*((one, counts[one]) for one in datasets), ("too small", 10)]
        for system in ["another", *bench_table.DETECTORS]
        for metric in METRICS
    ]
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "low", "high"])
        writer.writeheader()
        writer.writerows(rows)
    printed = bench_table.table(tmp_path)
    page, printed = (re.sub(r"( \+ )\d+", r"\1", text) for text in (page, printed))
    assert named(printed, 2) == named(page, 2)


def test_the_steps_are_shown_as_printed() -> None:
    page = section("localize")
    path = re.findall(r"All: (.*?), in the order", page)[0].split(" + ")
    rows = localize_steps.rows_of(path)
    [(header, _)] = named(page)
    values = {column: dict.fromkeys(rows, np.zeros(5)) for column in header[1:-1]}
    printed = localize_steps.table(path, values, dict.fromkeys(rows, 1.0))
    assert named(printed) == named(page)
    notes = (re.sub(r"\d+\.\d+", "0.0", text).strip().splitlines() for text in (printed, page))
    assert len({tuple(lines[-3:]) for lines in notes}) == 1


def test_the_ablation_is_shown_as_printed() -> None:
    page = section("cgro_ablation")
    [(_, rows)] = named(page, 2)
    rewards = {label: reward for reward, label in cgro_ablation.LABELS.items()}
    points = [
        {"test": test, "reward": rewards[label], "seed": seed, "step": 100}
        | dict.fromkeys(cgro_ablation.METRICS, 0.5)
        for test, label in rows
        for seed in range(3)
    ]
    printed = cgro_ablation.table(points)
    assert named(printed, 2) == named(page, 2)
    assert printed.splitlines()[-1] == page.splitlines()[-1]


def test_the_training_speed_is_shown_as_printed() -> None:
    costs = dict.fromkeys(training_speed.SIDES, training_speed.Cost([1.0], 1.0, 1.0))
    printed = training_speed.table(costs)
    assert named(printed) == named(section("training_speed"))


def test_the_calibrated_verdicts_are_shown_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_table, "read_detector_runs", lambda out: [])
    [(header, _)] = named(section("calibrated"))
    printed = bench_table.calibrated(Path())
    assert named(printed) == [(header, [])]
    assert printed.splitlines()[-1] == section("calibrated").splitlines()[-1]


def test_methods_and_selections_are_shown_as_printed() -> None:
    rows = [[method] for method in metric_speed.METHODS]
    assert named(section("metrics")) == [(metric_speed.COLUMNS, rows)]
    [(_, tokens)] = named(section("selection"))
    assert tokens[:4] == [[name] for name in token_selection.SELECTIONS]


@pytest.mark.parametrize(
    ("name", "columns"), [*token_selection.COLUMNS.items(), ("service", serve_load.COLUMNS)]
)
def test_the_other_tables_have_the_columns_printed(name: str, columns: list[str]) -> None:
    assert markdown(columns, []).splitlines()[0] in section(name)
