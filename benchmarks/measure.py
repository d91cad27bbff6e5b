"""What the benchmarks of docs/performance.md share: sides that take turns, peaks, JSON."""

import argparse
import gc
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from flawsight_surfaces import TEST_FAMILIES, render_pair

FIGURES = Path(__file__).parent.parent / "docs" / "performance"
SIZES = [(240, 240), (200, 300), (320, 180)]
Cell = str | float
Side = Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """What one side took in each round: seconds by the clock and of the processor, and MB."""

    wall: list[float]
    cpu: list[float]
    peak: float

    @property
    def seconds(self) -> float:
        """Median by the clock."""
        return statistics.median(self.wall)


def interleaved(sides: dict[str, Side], rounds: int) -> dict[str, Cost]:
    """Let the sides take turns, so that what else the machine does meets all. A first round warms.

    The peak is the most that the process held while the side ran, over all rounds.
    """
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    peaks: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, run in sides.items():
            gc.collect()
            reset_peak()
            began, began_cpu = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - began_cpu)
            peaks[name].append(peak())
    return {n: Cost(wall[n][1:], cpu[n][1:], statistics.median(peaks[n][1:])) for n in sides}


def ratios(side: Cost, base: Cost) -> tuple[float, float, float]:
    """Return the medians over rounds of side / base: by the clock, of the processor; and of MB."""
    clock, processor = (
        statistics.median(a / b for a, b in zip(of_side, of_base, strict=True))
        for of_side, of_base in ((side.wall, base.wall), (side.cpu, base.cpu))
    )
    return clock, processor, side.peak / base.peak


def reset_peak() -> None:
    """Forget the most memory that this process has held so far (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Return the most memory that this process has held since, in MB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1e3


def rendered(number: int, seed: int) -> list[Image.Image]:
    """Return surfaces of unseen families, every second one defective, of three aspects."""
    return [Image.fromarray(image) for image, _ in labelled(number, seed)]


def labelled(number: int, seed: int) -> list[tuple[Any, Any]]:
    """Return such surfaces and their masks."""
    rng = np.random.default_rng(seed)
    twins = [
        render_pair(rng, SIZES[i % 3], family=TEST_FAMILIES[i % len(TEST_FAMILIES)])
        for i in range(-(-number // 2))
    ]
    return [(sample.image, sample.gt_mask) for pair in twins for sample in pair][:number]


def arguments_of(doc: str | None, **options: tuple[int, int, str]) -> argparse.Namespace:
    """Parse the command line: option=(default, its value with --smoke, help), --smoke, --out."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, (_, _, text) in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=text)
    parser.add_argument("--smoke", action="store_true", help="as little as shows that it runs")
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of the JSON")
    given = parser.parse_args()
    for name, (default, smoke, _) in options.items():
        if getattr(given, name) is None:
            setattr(given, name, smoke if given.smoke else default)
    return given


def report(out: Path, name: str, columns: list[str], rows: list[list[Cell]], note: str) -> None:
    """Print a table and write it as OUT/NAME.json, whence `performance.py` takes it."""
    record = {
        "command": " ".join(["python", *sys.argv]).replace(f"{Path.cwd()}/", ""),
        "columns": columns,
        "rows": rows,
        "note": note,
        "machine": f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} "
        f"threads, Python {platform.python_version()}, torch {torch.__version__}",
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(table(record))


def table(record: dict[str, Any]) -> str:
    """Return a record as Markdown."""
    lines = [f"| {' | '.join(record['columns'])} |", "|---" * len(record["columns"]) + "|"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in record["rows"]]
    return "\n".join([*lines, "", f"{record['note']} {record['machine']}."])


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
