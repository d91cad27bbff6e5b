"""What the documentation shows works and exists."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from flawsight.cgro.train_settings import TRAIN_PRESETS
from flawsight.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_names_every_room_and_nothing_else() -> None:
    named = set(re.findall(r"^    src/flawsight/(\w+)/ ", README, flags=re.MULTILINE))
    rooms = {path.name for path in (ROOT / "src/flawsight").iterdir() if path.is_dir()}
    assert named == rooms - {"__pycache__"}


def test_the_readme_and_the_pages_stay_short() -> None:
    assert len(README.splitlines()) <= 110
    pages = [page for page in ROOT.glob("docs/*.md") if page.name != "log.md"]
    assert sum(len(page.read_text().split()) for page in pages) <= 12_000


def test_the_log_is_newest_first_with_dates_and_verdicts() -> None:
    log = (ROOT / "docs/log.md").read_text()
    headings = re.findall(r"^## (.*)$", log, flags=re.MULTILINE)
    numbers = []
    for heading in headings:
        match = re.fullmatch(r"(\d+) · \d{4}-\d\d-\d\d · .+ — .+", heading)
        assert match, heading
        numbers.append(int(match[1]))
    assert numbers == list(range(len(numbers), 0, -1))


def test_links_of_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_documents_parse(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / page).read_text().replace("\\\n", " ")
    monkeypatch.chdir(tmp_path)
    for name, content in re.findall(r"(?ms)^```yaml\n# (\S+)\n(.*?)^```", text):
        (tmp_path / name).write_text(content)
    for line in re.findall(
        r"^    (?:.* -m |\.venv/bin/)?flawsight ([^$\n]*)$", text, flags=re.MULTILINE
    ):
        command = typer.main.get_command(app)
        words = shlex.split(line, comments=True)
        while hasattr(command, "commands"):
            assert words, f"{page}: {line}"
            assert words[0] in command.commands, f"{page}: {line}"
            command = command.commands[words.pop(0)]
        given = command.make_context(command.name, words).params
        if command.name == "train":
            assert given["preset"] in TRAIN_PRESETS


def test_accelerates_files_are_read() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    for path in (ROOT / "configs/accelerate").glob("*.yaml"):
        given = yaml.safe_load(path.read_text())
        assert load_config_from_file(str(path)).num_processes == given["num_processes"]


def test_every_figure_section_has_been_written_by_its_benchmark() -> None:
    page = (ROOT / "docs/results.md").read_text()
    sections = re.findall(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->", page, flags=re.DOTALL)
    assert {name for name, _ in sections} == {
        "rendered",
        "real",
        "calibrated",
        "naming",
        "selection",
        "service",
        "localize",
        "training_speed",
        "cgro_ablation",
        "metrics",
    }
    assert all("|---|" in text for _, text in sections)
