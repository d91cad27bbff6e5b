"""The documentation site: every page is reached, every link leads somewhere, nothing is left out.

`make docs` builds it; what is here needs neither MkDocs nor a model.
"""

import re
from importlib import import_module
from typing import Any

import pytest
import typer
import yaml
from api_pages import API_PAGES, api_page
from command_line import command_line_page
from links import FILES, ROOT, TAKEN, linked_files, place_of, relocated, source_of, targets

import flawsight
from flawsight.cli import app

SITE = ROOT / "website"
MADE = ["command-line.md", *(f"python/{name}.md" for name in API_PAGES)]
OWN = [path.name for path in SITE.glob("pages/*.md")]
SOURCES = [*TAKEN, *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((SITE / "mkdocs.yml").read_text())
    return found


def pages_of(nav: Any) -> list[str]:
    """Return the pages of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [page for one in inner for page in pages_of(one)]


def test_the_navigation_has_every_page_once(config: dict[str, Any]) -> None:
    docs = [path.name for path in ROOT.glob("docs/*.md")]
    assert sorted(pages_of(config["nav"])) == sorted([*docs, *OWN, *MADE, *TAKEN.values()])


def test_the_site_is_strict_and_asks_no_other_host(config: dict[str, Any]) -> None:
    assert config["strict"] is True
    assert config["theme"]["font"] is False
    assert not re.search(r"https?://", (SITE / "mkdocs.yml").read_text())


@pytest.mark.parametrize("source", SOURCES)
def test_links_lead_to_pages_or_files_of_the_site(source: str) -> None:
    held = {*(place_of(path) for path in SOURCES), *OWN, *MADE, *TAKEN.values()}
    held |= {f"{FILES}/{path}" for path in linked_files()}
    held |= {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/*") if path.is_file()}
    page = place_of(source)
    assert source_of(page) == source
    text = (ROOT / source).read_text()
    moved = relocated(text, source, page)
    assert len(list(targets(moved, page))) == len(list(targets(text, source)))
    for target in targets(moved, page):
        assert target in held


def test_links_of_the_pages_that_are_written_for_the_site_lead_somewhere() -> None:
    made = {f"gallery/{name}" for name in ("samples.html", "good-photos.html", "surfaces.jpg")}
    held = {*(place_of(path) for path in SOURCES), *OWN, *MADE, *made, "world.jpg"}
    for path in SITE.glob("pages/*.md"):
        assert set(targets(path.read_text(), path.name)) <= held


def test_every_equation_has_a_figure_of_its_own() -> None:
    from equations import FIGURES

    page = (SITE / "pages/how-it-works.md").read_text()
    named = re.findall(r"\]\(figure:([\w-]+)\)", page)
    assert sorted(named) == sorted(FIGURES)
    parts = re.split(r"\]\(figure:[\w-]+\)", page)
    assert all(part.count("$$") <= 2 for part in parts)
    assert "$$" not in parts[-1]


def test_the_reference_documents_what_the_package_exports() -> None:
    documented = [found(one) for _, _, names in API_PAGES.values() for one in names]
    held = [value for one in documented for value in (one, *getattr(one, "__dict__", {}).values())]
    for name in set(flawsight.__all__) - {"__version__"}:
        value = getattr(flawsight, name)
        assert any(one is value for one in held), name


def found(name: str) -> Any:
    """Return the module, class or function of a dotted name; None of one that needs anomalib."""
    if "anomalib" in name:
        assert (ROOT / "src" / f"{name.replace('.', '/')}.py").is_file()
        return None
    home, _, last = name.rpartition(".")
    inside = getattr(import_module(home), last, None)
    return import_module(name) if inside is None else inside


@pytest.mark.parametrize("page", API_PAGES)
def test_a_page_of_the_reference_names_what_it_documents(page: str) -> None:
    _, _, names = API_PAGES[page]
    assert re.findall(r"^::: (\S+)$", api_page(page), flags=re.MULTILINE) == list(names)


def test_the_page_of_the_command_line_has_every_option_of_every_verb() -> None:
    page = command_line_page()
    sections = re.findall(r"(?ms)^##+ `(flawsight .+?)`$(.*?)(?=^##+ |\Z)", page)
    command: Any = typer.main.get_command(app)
    assert {name.split()[1] for name, _ in sections} == set(command.commands)
    assert {"flawsight data make", "flawsight watch"} <= {name for name, _ in sections}
    for name, text in sections:
        inner = command
        for word in name.split()[1:]:
            inner = inner.commands[word]
        options = {one for option in inner.params for one in option.opts if one.startswith("--")}
        assert options <= set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)), name


def test_files_that_pages_name_are_on_the_site() -> None:
    assert "deploy/Dockerfile" in linked_files()
    assert place_of("docs/learn.md") == "learn.md"
    assert relocated("[a](../deploy/x)", "docs/serve.md", "serve.md") == f"[a]({FILES}/deploy/x)"
    assert relocated("[a](docs/x.md#b)", "README.md", "index.md") == "[a](x.md#b)"
    assert relocated("[a](https://x.y)", "README.md", "index.md") == "[a](https://x.y)"
