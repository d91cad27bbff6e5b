"""The tree is the data flow: rooms import only rooms below them, and no two files share a name."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
# From the bottom up. A room is a folder, or a module at the top of the package.
ROOMS = [
    "errors",
    "prompt",
    "roi",
    "settings",
    "display",
    "frame",
    "inspection",
    "io",
    "mllm",
    "real",
    "calibration",
    "reference",
    "refine",
    "endpoint",
    "localize",
    "batches",
    "ask",
    "inspector",
    "runs",
    "data",
    "metrics",
    "evaluate",
    "cgro",
    "doctor",
    "report",
    "watch",
    "export",
    "serve",
    "integrations",
    "cli",
]


def modules(package: str) -> dict[str, Path]:
    found = {}
    for path in sorted((SOURCE / package).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: set[str]) -> set[str]:
    """Return the modules of the package that a module imports anywhere in it, also for types."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            inside = {f"{whole}.{alias.name}" for alias in node.names}
            found |= inside & known or {whole}
    return (found & known) - {name}


def arrows(package: str) -> dict[str, set[str]]:
    known = modules(package)
    return {name: imports(name, path, set(known)) for name, path in known.items()}


def test_rooms_import_only_rooms_below_them() -> None:
    order = {room: floor for floor, room in enumerate(ROOMS)}
    upward = []
    for name, used in arrows("flawsight").items():
        room = [*name.split("."), ""][1]
        if room in ("", "__main__"):  # the package's face and its command
            continue
        for other in used - {"flawsight"}:
            if order[other.split(".")[1]] > order[room]:
                upward.append(f"{name} imports {other}")
    assert upward == []


def test_every_room_has_a_floor() -> None:
    named = {name.split(".")[1] for name in modules("flawsight") if "." in name} - {"__main__"}
    assert named - {"default_model"} == set(ROOMS)


@pytest.mark.parametrize("package", ["flawsight", "flawsight_surfaces"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph = arrows(package)
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_renderer_needs_nothing_of_flawsight_but_its_errors() -> None:
    known = set(modules("flawsight"))
    for name, path in modules("flawsight_surfaces").items():
        assert imports(name, path, known) <= {"flawsight.errors"}, name


def test_no_file_name_occurs_twice_and_none_is_of_the_standard_library() -> None:
    places = defaultdict(list)
    for package in ("flawsight", "flawsight_surfaces"):
        for path in modules(package).values():
            if not path.name.startswith("__"):
                places[path.stem].append(str(path.relative_to(SOURCE)))
    assert [paths for paths in places.values() if len(paths) > 1] == []
    # Alembic runs migrations/env.py by that name.
    assert set(places) & sys.stdlib_module_names == set()


def test_one_idea_per_file() -> None:
    long = {
        name: count
        for package in ("flawsight", "flawsight_surfaces")
        for name, path in modules(package).items()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert long == {}
