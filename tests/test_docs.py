"""What the documentation shows works and exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readmes_python_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "(384, 384)" in capsys.readouterr().out


def test_the_readmes_tree_names_every_module_and_nothing_else() -> None:
    tree = README.split("## Where things are")[1].split("## ")[0]
    package, _, _ = tree.partition("recipes/")
    named = set(re.findall(r"[a-z_]+\.py", package))
    modules = {
        path.name
        for path in (ROOT / "src/flawsight").rglob("*.py")
        if not path.name.startswith("__")
        and not {"surfaces", "report"} & set(path.relative_to(ROOT / "src/flawsight").parts)
    }
    assert named == modules
    for folder in re.findall(r"([a-z_]+)/", tree):
        assert list(ROOT.rglob(folder)), folder


def test_links_of_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs/results.md"]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_figure_section_has_been_written_by_its_benchmark() -> None:
    page = (ROOT / "docs/results.md").read_text()
    sections = re.findall(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->", page, flags=re.DOTALL)
    assert {name for name, _ in sections} == {
        "rendered",
        "real",
        "naming",
        "selection",
        "words",
        "choices",
        "speed",
        "metrics",
    }
    assert all("|---|" in text for _, text in sections)
