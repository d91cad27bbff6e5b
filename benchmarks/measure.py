"""Shared by the benchmarks of docs/performance.md: interleaved timing, memory, tables as JSON."""

import argparse
import gc
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import DOCS, Cell, markdown, parser_of, replaced
from PIL import Image

from flawsight.inspection import Trace
from flawsight.inspector import Inspector
from flawsight_surfaces import TEST_FAMILIES, render_pair

FIGURES = DOCS / "performance"
Size = tuple[int, int]
SIZES = [(240, 240), (200, 300), (320, 180)]
Side = Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """What one side took in each round: wall and processor seconds, and peak memory in MB."""

    wall: list[float]
    cpu: list[float]
    peak: float

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(self.wall)


def interleaved(sides: Mapping[str, Side], rounds: int) -> dict[str, Cost]:
    """Run the sides in turns, so other load on the machine affects all. A first round warms up."""
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, run in sides.items():
            gc.collect()
            Path("/proc/self/clear_refs").write_text("5")  # reset the peak memory (Linux)
            began, began_cpu = time.perf_counter(), time.process_time()
            run()
            wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
            taken[name].append((wall, cpu, peak()))
    costs = {name: list(zip(*rounds_of[1:], strict=True)) for name, rounds_of in taken.items()}
    return {n: Cost(list(w), list(c), statistics.median(p)) for n, (w, c, p) in costs.items()}


def ratios(side: Cost, base: Cost) -> tuple[float, float, float]:
    """Return side / base: medians over rounds of wall and processor time, and peak memory."""
    wall, cpu = (
        statistics.median(a / b for a, b in zip(of_side, of_base, strict=True))
        for of_side, of_base in ((side.wall, base.wall), (side.cpu, base.cpu))
    )
    return wall, cpu, side.peak / base.peak


def peak() -> float:
    """Return this process's peak memory in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1e3


def resident(pid: int | str = "self") -> float:
    """Return the memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def machine() -> str:
    """Describe what the benchmark ran on."""
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def rendered(number: int, seed: int, sizes: Sequence[Size] = SIZES) -> list[Image.Image]:
    """Return surfaces of unseen families, every second one defective; (height, width) in turns."""
    rng = np.random.default_rng(seed)
    twins = [
        render_pair(rng, sizes[i % len(sizes)], family=TEST_FAMILIES[i % len(TEST_FAMILIES)])
        for i in range(-(-number // 2))
    ]
    return [Image.fromarray(sample.image) for pair in twins for sample in pair][:number]


def saved(number: int, seed: int, folder: Path, sizes: Sequence[Size] = SIZES) -> list[Path]:
    """Write such surfaces as PNG files and return their paths."""
    paths = [folder / f"{index:04d}.png" for index in range(number)]
    for path, image in zip(paths, rendered(number, seed, sizes), strict=True):
        image.save(path)
    return paths


def traced(inspector: Inspector, photos: Sequence[Path]) -> Iterator[tuple[int, Any, Trace]]:
    """Yield index, image and trace of the photos with a response."""
    for first in range(0, len(photos), inspector.batch_size):
        prepared = inspector.prepare(photos[first : first + inspector.batch_size])
        traces = iter(inspector.trace(prepared).traces)
        for index, image in enumerate(prepared.images, first):
            if not isinstance(image, Exception) and isinstance(trace := next(traces), Trace):
                yield index, image, trace


def arguments_of(doc: str | None, **options: tuple[int, int, str]) -> argparse.Namespace:
    """Parse the command line: option=(default, its value with --smoke, help), --smoke, --out."""
    parser = parser_of(doc)
    for name, (_, _, text) in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=text)
    parser.add_argument("--smoke", action="store_true", help="run at the smallest size")
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of the JSON")
    given = parser.parse_args()
    for name, (default, smoke, _) in options.items():
        if getattr(given, name) is None:
            setattr(given, name, smoke if given.smoke else default)
    return given


def report(out: Path, name: str, columns: list[str], rows: list[list[Cell]], note: str) -> None:
    """Print a table and write OUT/NAME.json; in docs/performance, update the page as well."""
    record = {
        "command": " ".join(["python", *sys.argv]).replace(f"{Path.cwd()}/", ""),
        "columns": columns,
        "rows": rows,
        "note": note,
        "machine": machine(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(table(record))
    if out == FIGURES:
        page = DOCS / "performance.md"
        page.write_text(filled(page.read_text(), out))


def table(record: dict[str, Any]) -> str:
    """Return a record as Markdown."""
    shown = markdown(record["columns"], record["rows"])
    return f"{shown}\n\n{record['note']} {record['machine']}."


def filled(page: str, figures: Path) -> str:
    """Return the page with each section's table as its JSON gives it."""
    for name in re.findall(r"<!-- begin (\w+) -->", page):
        path = figures / f"{name}.json"
        shown = table(json.loads(path.read_text())) if path.exists() else "Not measured yet."
        page = replaced(page, name, shown)
    return page
