"""A release agrees with itself, and what is built of it can be installed and documented."""

import re
import runpy
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import flawsight

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github/workflows"


@pytest.fixture(scope="module")
def release_notes() -> Callable[[Path, str], str]:
    found: Callable[[Path, str], str] = runpy.run_path(str(ROOT / ".ci/release_notes.py"))[
        "release_notes"
    ]
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "src/flawsight").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "flawsight"\nversion = "0.2.0"\n')
    (tmp_path / "src/flawsight/__init__.py").write_text('__version__ = "0.2.0"\n')
    text = "# Changelog\n\n## 0.2.0\n\nNew:\n\n### Maps\n\n- One.\n\n## 0.1.0\n\n- Old.\n"
    (tmp_path / "CHANGELOG.md").write_text(text)
    return tmp_path


def test_the_package_has_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == flawsight.__version__


def test_a_release_prints_its_own_section(
    release_notes: Callable[[Path, str], str], repository: Path
) -> None:
    assert release_notes(repository, "v0.2.0") == "New:\n\n### Maps\n\n- One.\n"


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("pyproject.toml", "0.2.0", "0.2.1"),
        ("src/flawsight/__init__.py", "0.2.0", "0.1.0"),
        ("CHANGELOG.md", "## 0.2.0", "## Unreleased"),
        ("CHANGELOG.md", "## 0.2.0", "## 0.2.0\n\n## 0.1.9"),
        ("CHANGELOG.md", "## ", "# "),
    ],
)
def test_a_release_whose_parts_disagree_is_refused(
    path: str,
    before: str,
    after: str,
    release_notes: Callable[[Path, str], str],
    repository: Path,
) -> None:
    file = repository / path
    file.write_text(file.read_text().replace(before, after, 1))
    with pytest.raises(SystemExit):
        release_notes(repository, "v0.2.0")


@pytest.mark.parametrize("tag", ["0.2.0", "v0.2", "v0.3.0", "latest"])
def test_a_tag_of_another_version_is_refused(
    tag: str, release_notes: Callable[[Path, str], str], repository: Path
) -> None:
    with pytest.raises(SystemExit, match=re.escape(tag.removeprefix("v"))):
        release_notes(repository, tag)


def steps(workflow: str) -> str:
    """Return what a workflow runs, in order."""
    jobs = yaml.safe_load((WORKFLOWS / workflow).read_text())["jobs"].values()
    return "\n".join(step.get("run", step.get("uses")) for job in jobs for step in job["steps"])


def test_the_release_checks_itself_before_it_builds() -> None:
    run = steps("release.yml")
    assert -1 < run.find(".ci/release_notes.py") < run.find("python -m build")
    assert run.find("twine check") < run.find("gh release create")


def test_ci_installs_the_wheel_on_every_python_that_the_package_names() -> None:
    workflow = yaml.safe_load((WORKFLOWS / "ci.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [one.split()[-1] for one in project["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert workflow["jobs"]["wheel"]["strategy"]["matrix"]["python"] == named
    run = steps("ci.yml")
    for command in (
        "twine check",
        "check-wheel-contents",
        "docker compose",
        "make docs",
    ):
        assert command in run
