"""The tables: right values, in the right place, whatever the names are."""

import csv
import io
import re
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from flawsight.evaluate.metric_values import METRICS, GroupCounts, MetricValue
from flawsight.evaluate.published import PUBLISHED_METRICS, published_values
from flawsight.evaluate.table_formats import (
    terminal_tables,
    to_csv,
    to_latex,
    to_markdown,
    write_tables,
)
from flawsight.evaluate.tables import all_tables, average_values, percent

BASE, CGRO = "Qwen2.5-VL 7B, ReAL", "Qwen2.5-VL 7B + CGRO, ReAL"
HOSTILE = "a|b&c_d<e>[red]\\{f}*g*`h`$i$#~^%\n[j](k)"


def values_of(dataset: str, detector: str, shift: float = 0.0) -> list[MetricValue]:
    return [
        MetricValue(
            dataset, "bottle", detector, "image_auroc", 0.857 - shift, 0.829 - shift, 0.884
        ),
        MetricValue(
            dataset, "macro", detector, "image_auroc", 0.8 - shift, 0.77 - shift, 0.84 - shift
        ),
        MetricValue(dataset, "pooled", detector, "image_auroc", 0.7 - shift),
        MetricValue(dataset, "macro", detector, "pixel_auroc", None, note="no masks"),
    ]


# Typed from the paper's overview, not from the CSV.
@pytest.mark.parametrize(
    ("system", "dataset", "metric", "percentage"),
    [
        (BASE, "average", "image_auroc_published", 63.4),
        (BASE, "KolektorSDD", "image_accuracy", 93.8),
        (BASE, "WFDD", "pixel_accuracy", 70.3),
        ("Qwen2.5-VL 7B + R1, ReAL", "DTD-Synthetic", "image_auroc_published", 90.7),
        ("Qwen2.5-VL 7B + R1, ReAL", "MVTec-AD", "pixel_auroc", 73.6),
        (CGRO, "MVTec-AD", "image_auroc_published", 79.8),
        (CGRO, "MVTec-AD", "image_accuracy", 77.3),
        (CGRO, "WFDD", "pixel_auroc", 70.5),
        (CGRO, "average", "pixel_accuracy", 97.1),
        (CGRO, "average", "pixel_aupr", 13.3),
        (f"{CGRO}, S_I only", "average", "pixel_auroc", 74.1),
        (f"{CGRO}, S_T only", "average", "pixel_auroc", 76.7),
        ("Qwen2.5-VL 7B + CGRO, vanilla map", "average", "pixel_auroc", 72.7),
        ("Qwen2.5-VL 7B, vanilla map", "average", "pixel_accuracy", 73.0),
        ("Qwen2.5-VL 3B + R1, ReAL", "average", "image_auroc_published", 58.1),
        ("Qwen2.5-VL 3B + CGRO, ReAL", "average", "pixel_auroc", 73.5),
        ("Qwen2.5-VL + CGRO", "MVTec-COT", "rouge_l", 27.1),
        ("GPT-4.1", "MVTec-COT", "sbert", 69.9),
        ("InternVL-3 78B", "average", "image_accuracy", 83.4),
        ("Triad 7B", "average", "image_auroc_published", 85.5),
        ("AnomalyGPT 7B", "average", "pixel_auroc", 77.8),
        ("IAD-R1 (Qwen2.5-VL 3B)", "KolektorSDD", "image_accuracy", 83.4),
        ("IAD-R1 (Qwen2.5-VL 7B)", "MVTec-AD", "image_accuracy", 81.9),
        ("WinCLIP", "MVTec-AD", "image_auroc", 91.8),
        ("AnomalyCLIP", "MVTec-AD", "pixel_aupr", 34.4),
        ("AnomalyVFM", "MVTec-AD", "pixel_aupro", 87.6),
    ],
)
def test_the_published_values_are_those_of_the_papers(
    system: str, dataset: str, metric: str, percentage: float
) -> None:
    key = (system, dataset, metric)
    found = {p.value for p in published_values() if (p.system, p.dataset, p.metric) == key}
    assert found == {round(percentage / 100, 4)}


def test_each_published_average_is_the_mean_of_its_four_data_sets() -> None:
    value = {(p.system, p.dataset, p.metric): p.value for p in published_values()}
    sets = ("KolektorSDD", "DTD-Synthetic", "WFDD", "MVTec-AD")
    for system in (BASE, "Qwen2.5-VL 7B + R1, ReAL", CGRO):
        for metric in ("image_auroc_published", "image_accuracy", "pixel_auroc", "pixel_accuracy"):
            mean = sum(value[system, dataset, metric] for dataset in sets) / 4
            assert value[system, "average", metric] == pytest.approx(mean, abs=0.001)


def test_the_published_values_are_sound() -> None:
    keys = [(p.system, p.dataset, p.metric) for p in published_values()]
    assert len(set(keys)) == len(keys) == 141
    for p in published_values():
        assert 0 < p.value < 1
        assert p.metric in PUBLISHED_METRICS
        assert p.supervision in {"none", "image labels", "masks", "not stated"}
        # The image "AUROC" of answers has a name of its own; only scoring systems have a true one.
        if p.metric == "image_auroc":
            assert not p.source.startswith("Jin")
    assert "image_auroc_published" not in METRICS
    assert files("flawsight.evaluate").joinpath("published.csv").is_file()


def test_percent() -> None:
    assert percent(0.857, 0.829, 0.884) == "85.7 [82.9, 88.4]"
    assert percent(1.0) == "100.0"
    assert percent(None, None, None) == "–"


def test_nothing_published_is_among_our_values() -> None:
    values = values_of("MVTec-AD", "ours")
    tables = all_tables(values, [])
    for table in tables:
        if table.title.startswith("Published ("):
            assert "not run here" in table.title
            assert all("ours" not in row for row in table.rows)
        else:
            assert table.rows
            assert all(row[1] == "ours" for row in table.rows)
            assert PUBLISHED_METRICS["image_auroc_published"] not in table.metrics
    titles = [table.title for table in tables]
    assert "Published (Jin et al., CVPR 2026; not run here): MVTec-AD, image" in titles
    assert "Published (Jin et al., CVPR 2026; not run here): average, image" in titles
    assert not any("WFDD" in title for title in titles)


@pytest.mark.parametrize("values", [[], values_of("my own", "ours")])
def test_published_values_are_shown_even_if_no_data_set_matches(values: list[MetricValue]) -> None:
    tables = [t for t in all_tables(values, []) if t.title.startswith("Published (")]
    shown = sum(cell != "–" for t in tables for r in t.rows for cell in r[len(t.labels) :])
    assert shown == len(published_values())


def test_averages_are_of_macro_values_of_detectors_that_ran_everywhere() -> None:
    values = values_of("A", "both") + values_of("B", "both", 0.2) + values_of("A", "one")
    averages = average_values(values)
    assert {one.detector for one in averages} == {"both"}
    image = next(one for one in averages if one.metric == "image_auroc")
    assert image.value == pytest.approx((0.8 + 0.6) / 2)
    # Two independent means with deviations of 3 and 4 points: 3 √2 / 2 and 4 √2 / 2.
    assert image.low == pytest.approx(0.7 - 0.03 / 2**0.5)
    assert image.high == pytest.approx(0.7 + 0.04 / 2**0.5)
    pixel = next(one for one in averages if one.metric == "pixel_auroc")
    assert pixel.value is None
    # Nobody speaks of pixels, so there is no table of them.
    assert pixel.note == ""
    titles = [table.title for table in all_tables(values, [], ())]
    assert "Average over A, B: image" in titles
    assert "Average over A, B: pixel" not in titles
    assert average_values(values_of("A", "both")) == []


def test_an_average_with_a_part_undefined_names_it() -> None:
    values = [
        MetricValue("A", "macro", "d", "pixel_auroc", 0.5),
        MetricValue("B", "macro", "d", "pixel_auroc", None),
    ]
    (average,) = average_values(values)
    assert average.value is None
    assert average.note == "no value for B"


def test_what_was_not_scored_is_said_in_its_row_and_only_there() -> None:
    values = values_of("A", "good") + values_of("A", "bad")
    counts = [
        GroupCounts("A", "macro", "good", 5, 5, 5, 0, 0),
        GroupCounts("A", "macro", "bad", 5, 5, 5, 2, 1),
    ]
    by_title = {table.title: table for table in all_tables(values, counts, ())}
    table = by_title["A: image"]
    assert table.labels == ("over", "detector", "failed or missing")
    cells = {row[:2]: row[2] for row in table.rows}
    assert cells["macro", "bad"] == "2 failed, 1 missing"
    assert cells["macro", "good"] == "0"
    assert any("count as wrong" in note for note in table.notes)
    assert by_title["A, by category: image"].labels == ("category", "detector")


def test_an_average_says_what_was_not_scored_on_any_data_set() -> None:
    values = values_of("A", "d") + values_of("B", "d")
    counts = [GroupCounts(name, "macro", "d", 5, 5, 5, 1, 2) for name in "AB"]
    table = next(t for t in all_tables(values, counts, ()) if t.title.startswith("Average"))
    assert table.title == "Average over A, B: image"
    assert [row[:3] for row in table.rows] == [("macro", "d", "2 failed, 4 missing")]
    rows = csv.DictReader(io.StringIO(to_csv(values, counts, ())))
    assert {row["failed"] for row in rows if row["dataset"] == "average"} == {"2"}


def test_an_undefined_value_is_a_dash_with_its_reason() -> None:
    tables = all_tables(values_of("A", "d"), [], ())
    table = next(table for table in tables if table.title == "A: pixel")
    assert table.rows == (("macro", "d", "– (1)"),)
    assert "(1) no masks" in table.notes


def test_hostile_names_break_no_table() -> None:
    values = values_of(HOSTILE, HOSTILE)
    for line in to_markdown(all_tables(values, [], ())).splitlines():
        if line.startswith("|"):
            # All rows of these tables have two names and one value.
            assert len(re.findall(r"(?<!\\)\|", line)) == 4
        assert "<" not in line
        assert not re.search(r"&(?!amp;|lt;|gt;)", line)
    latex = to_latex(all_tables(values, [], ()))
    rows = [line for line in latex.splitlines() if "textbar" in line and line.endswith(r"\\")]
    assert len(rows) == 4
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == 2
        assert not re.search(r"(?<!\\)[_#$%]", row)
        assert not re.search(r"[<>~^|]", row)
        assert not row.startswith("[")
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    console.print(*terminal_tables(all_tables(values, [], ())))
    assert isinstance(console.file, io.StringIO)
    assert "[red]" in console.file.getvalue()


@settings(max_examples=30, deadline=None)
@given(
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00")),
    value=st.none() | st.floats(0, 1),
)
def test_csv_comes_back_as_it_went(name: str, value: float | None) -> None:
    measured = MetricValue(name, "macro", name, "image_auroc", value, value, value, name)
    group_counts = GroupCounts(name, "macro", name, 1, 2, 3, 4, 5)
    rows = list(csv.DictReader(io.StringIO(to_csv([measured], [group_counts]), newline="")))
    ours = [row for row in rows if row["source"] == "ours"]
    assert [(row["dataset"], row["system"], row["note"]) for row in ours] == [(name,) * 3]
    for column in ("value", "low", "high"):
        assert (float(ours[0][column]) if ours[0][column] else None) == value
    assert (ours[0]["failed"], ours[0]["missing"]) == ("4", "5")
    theirs = [row for row in rows if row["source"] == "published"]
    assert [(r["system"], r["dataset"], r["metric"], float(r["value"])) for r in theirs] == [
        (p.system, p.dataset, p.metric, p.value) for p in published_values()
    ]


def test_files_are_written(tmp_path: Path) -> None:
    paths = write_tables(tmp_path / "new", values_of("A", "odd\udcff"), [])
    assert [path.name for path in paths] == ["tables.md", "tables.tex", "metrics.csv"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in paths
    )
    assert "85.7 [82.9, 88.4]" in paths[0].read_text(encoding="utf-8")


def test_a_detector_that_failed_on_everything_is_still_shown() -> None:
    values = [MetricValue("A", "macro", "d", metric, None) for metric in METRICS]
    (table,) = all_tables(values, [GroupCounts("A", "macro", "d", 5, 5, 5, 10, 0)], ())
    assert table.title == "A: image"
    assert table.rows == (("macro", "d", "10 failed", "–", "–", "–", "–", "–"),)
