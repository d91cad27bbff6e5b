"""The container's packages: those that were tested, all of them, by hash."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINUX = {"python_version": "3.12", "sys_platform": "linux", "platform_machine": "x86_64"}
ENTRY = re.compile(
    r"^([a-z0-9.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M
)


def lock() -> dict[str, str]:
    """The versions of the lock file, each with at least one hash."""
    text = (ROOT / "deploy/requirements.lock").read_text()
    assert ENTRY.sub("", text) == ""
    return {name: version for name, version, _ in ENTRY.findall(text)}


def needed(name: str, extras: set[str], seen: set[str]) -> Iterator[str]:
    """The packages that one brings along, as installed here; torch has an index of its own."""
    for text in requires(name) or ():
        wanted = Requirement(text)
        child = canonicalize_name(wanted.name)
        markers = [LINUX | {"extra": extra} for extra in extras or {""}]
        applies = wanted.marker is None or any(wanted.marker.evaluate(m) for m in markers)
        if not applies or child == "torch" or (key := f"{child}{wanted.extras}") in seen:
            continue
        seen.add(key)
        yield child
        try:
            yield from needed(child, set(wanted.extras), seen)
        except PackageNotFoundError:
            continue


def test_the_lock_holds_the_versions_that_were_tested() -> None:
    pins = dict(
        line.split(";")[0].strip().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    tested = {canonicalize_name(name): version for name, version in pins.items()}
    locked = lock()
    wrong = {name: v for name, v in locked.items() if tested.get(name, v) != v}
    assert not wrong, "run `make lock`"
    assert {"fastapi", "psycopg", "transformers", "pillow"} <= locked.keys() & tested.keys()


def test_the_lock_is_complete() -> None:
    """The container installs it without dependencies."""
    if version("transformers") != lock()["transformers"]:
        pytest.skip("other versions than the container's are installed")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = set(needed("flawsight", {"serve", "postgres"}, set())) - {"flawsight"}
    assert len(wanted) > len(project["dependencies"])
    assert not wanted - lock().keys(), "run `make lock`"
    assert "torch" not in lock()


@pytest.mark.parametrize("promise", ["USER 10001", "--require-hashes", "--no-deps"])
def test_the_container_is_as_promised(promise: str) -> None:
    assert promise in (ROOT / "deploy/Dockerfile").read_text()
