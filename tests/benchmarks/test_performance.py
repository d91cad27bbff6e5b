"""docs/performance.md is what its JSON gives, and the benchmarks run."""

import json
import re
from pathlib import Path

import measure
import pytest
from pages import DOCS

from helpers.forked import Forked, script


def test_the_page_is_what_the_figures_give() -> None:
    page = (DOCS / "performance.md").read_text()
    assert measure.filled(page, measure.FIGURES) == page
    sections = set(re.findall(r"<!-- begin (\w+) -->", page))
    assert {path.stem for path in measure.FIGURES.glob("*.json")} <= sections


def test_a_new_figure_changes_its_section_alone(tmp_path: Path) -> None:
    page = "a\n<!-- begin one -->\nold\n<!-- end one -->\nb\n<!-- begin two -->\n<!-- end two -->\n"
    record = {"columns": ["x"], "rows": [[0.12345], [1234.5]], "note": "n.", "machine": "m"}
    (tmp_path / "one.json").write_text(json.dumps(record))
    filled = measure.filled(page, tmp_path)
    assert "| 0.123 |\n| 1234 |" in filled
    assert "old" not in filled
    assert filled.endswith("<!-- begin two -->\nNot measured yet.\n<!-- end two -->\n")


@pytest.mark.parametrize(
    "name", [pytest.param("stages", marks=pytest.mark.slow), "capture_cost", "one_at_a_time"]
)
def test_a_benchmark_runs_at_its_smallest(name: str, tmp_path: Path) -> None:
    benchmark = Path(measure.__file__).with_name(f"{name}.py")
    process = Forked(tmp_path / "log", script, benchmark, "--smoke", "--out", str(tmp_path))
    assert process.wait(600) == 0, (tmp_path / "log").read_text()
    [written] = tmp_path.glob("*.json")
    assert json.loads(written.read_text())["rows"]
    if name == "one_at_a_time":
        note = json.loads(written.read_text())["note"]
        assert note.startswith("2 of 2 responses equal")
        apart = re.search(r"at most (\S+) apart", note)
        assert apart is not None
        assert float(apart[1]) < 1e-4
