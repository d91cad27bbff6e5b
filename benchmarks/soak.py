"""Memory and pace over many inspections, and runs that are killed; docs/scale.md.

    python benchmarks/soak.py [--inspections 20000] [--image-tokens 36] [--kills 20]
                              [--actors N] [--json soak.json]

First, many inspections in one process, or with --actors on a local Ray, with memory and pace
sampled. Then `flawsight inspect` is killed with SIGKILL at random moments and started again until
it is done. Its run folder is compared with that of an undisturbed command: every byte but times and
the page. Batches hold one image, because only then does each image have the same neighbours after a
kill.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, resident
from numpy.typing import NDArray
from pages import parser_of
from PIL import Image

from flawsight.inspector import Inspector
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from flawsight.settings import PRESETS
from flawsight_surfaces import render_pair

SIDE = 96
DIFFERENT = 64


def make_photos(folder: Path, count: int) -> list[Path]:
    """Write small images, of which 64 differ and the others are links to them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    samples = [
        s for _ in range(-(-min(count, DIFFERENT) // 2)) for s in render_pair(rng, (SIDE, SIDE))
    ]
    paths = [folder / f"{index:06}.png" for index in range(count)]
    for index, path in enumerate(paths):
        if index < len(samples):
            Image.fromarray(samples[index].image).save(path)
        else:
            os.link(paths[index % len(samples)], path)
    return paths


def soak(
    photos: list[Path], run: Path, batch_size: int, image_tokens: int, samples: int = 40
) -> dict[str, Any]:
    """Inspect all images in this process.

    Returns:
        "samples": (images so far, processor seconds so far, MiB); "mib": medians of the second and
        the last quarter, because the first warms up; "growth_mib_per_1000": slope of a line through
        the last three quarters; "seconds_an_image": processor time, medians of the same quarters;
        "images_per_second" by the clock.
    """
    settings = replace(PRESETS["default"], image_tokens=image_tokens)
    inspector = Inspector.from_pretrained(device="cpu", batch_size=batch_size, settings=settings)
    every = max(1, len(photos) // samples)
    rows: list[tuple[int, float, float]] = []
    began, began_wall = time.process_time(), time.perf_counter()
    done = 0

    def on_row(_row: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        if done % every == 0:
            rows.append((done, time.process_time() - began, resident()))

    inspect_into(RunFolder(run, describe(inspector)), inspector, photos, on_row)
    wall = time.perf_counter() - began_wall
    counts, seconds, mib = (np.array(values, float) for values in zip(*rows, strict=True))
    pace = np.diff(seconds, prepend=0.0) / np.diff(counts, prepend=0.0)
    quarter = max(1, len(rows) // 4)
    slope = np.polyfit(counts[quarter:], mib[quarter:], 1)[0] if len(rows) - quarter > 1 else 0.0
    return {
        "images": len(photos),
        "samples": rows,
        "mib": quarters(mib),
        "growth_mib_per_1000": float(slope) * 1000,
        "seconds_an_image": quarters(pace),
        "images_per_second": done / wall,
        "machine": machine(),
    }


def quarters(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """Return the medians of the second and of the last quarter."""
    quarter = max(1, len(values) // 4)
    return [float(np.median(part)) for part in (values[quarter : 2 * quarter], values[-quarter:])]


def soak_on_ray(
    photos: list[Path], run: Path, batch_size: int, image_tokens: int, actors: int
) -> dict[str, Any]:
    """Inspect all images by actors on a local Ray.

    Returns:
        "mib", as in `soak`, of this process and its children, shared pages divided (PSS), sampled
        once per second; "failed"; "images_per_second"; "bytes_per_image" of the run's subfolders.
    """
    import psutil
    import ray

    from flawsight.runs.cluster import inspect_on_ray

    def memory() -> float:
        total, me = 0, psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            with suppress(psutil.Error):  # it has ended
                total += process.memory_full_info().pss
        return total / 2**20

    mib = [memory()]
    over = threading.Event()

    def sample() -> None:
        while not over.wait(1):
            mib.append(memory())

    if not ray.is_initialized():
        # Reading and writing need CPUs besides the actors'.
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=actors + 2)
    settings = replace(PRESETS["default"], image_tokens=image_tokens)
    options: dict[str, Any] = {"device": "cpu", "batch_size": batch_size, "settings": settings}
    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    began = time.perf_counter()
    rows = list(inspect_on_ray([str(photos[0].parent)], str(run), options, actors=actors))
    wall = time.perf_counter() - began
    over.set()
    sampler.join()
    sizes: Counter[str] = Counter()
    for path in run.rglob("*"):
        if path.is_file() and path.parent != run:
            sizes[path.relative_to(run).parts[0]] += path.stat().st_size
    return {
        "images": len(rows),
        "failed": sum("error" in row for row in rows),
        "mib": quarters(mib),
        "images_per_second": len(rows) / wall,
        "bytes_per_image": {name: size / len(rows) for name, size in sizes.items()},
        "machine": f"{machine()}, ray {ray.__version__}, {actors} actors",
    }


def command(photos: Path, run: Path) -> list[str]:
    """Return the command that inspects a folder, with batches of one image."""
    return [
        sys.executable, "-m", "flawsight", "inspect", str(photos), "--out", str(run),
        "--batch-size", "1", "--device", "cpu", "--quiet",
    ]  # fmt: skip


def finish(photos: Path, run: Path) -> None:
    """Run the command to its end."""
    done = subprocess.run(command(photos, run), stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1):  # 1: the model had no answer for some images
        raise SystemExit(f"the command failed with {done.returncode}")


def rows_in(run: Path) -> int:
    """Count the rows so far, including the torn one that a kill may leave."""
    path = run / "inspections.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def kill_and_resume(photos: Path, run: Path, kills: int, images: int, seed: int) -> list[int]:
    """Run the command to its end through SIGKILLs; return how many rows each left."""
    dice = random.Random(seed)
    left = []
    step = images / (kills + 1)
    for kill in range(kills):
        # After this many rows, then at a random moment of the work on the next one.
        wanted = int(step * (kill + dice.random()))
        with subprocess.Popen(command(photos, run), stdout=subprocess.DEVNULL) as process:
            while rows_in(run) <= wanted and process.poll() is None:
                time.sleep(0.002)
            time.sleep(dice.random() * 0.1)
            process.kill()
        left.append(rows_in(run))
    finish(photos, run)
    return left


def differences(run: Path, other: Path) -> list[str]:
    """Name what differs between two run folders, except times and the page."""

    def content(folder: Path) -> dict[str, Any]:
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.parent != folder and "report" not in path.parts
        }
        rows = {
            row["image"]: {name: value for name, value in row.items() if name != "seconds"}
            for row in read_rows(folder)
        }
        # Failures are tried again and come last.
        order = {"order": [row["image"] for row in read_rows(folder) if "error" not in row]}
        return files | rows | order

    one, two = content(run), content(other)
    return sorted(name for name in one | two if one.get(name) != two.get(name))


def main() -> None:
    """Run both parts, print them, and write them as JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--inspections", type=int, default=20000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-tokens", type=int, default=36, help="the photos are small")
    parser.add_argument("--actors", type=int, default=0, help="on Ray; 0: in this process")
    parser.add_argument("--kills", type=int, default=20, help="0: leave this part out")
    parser.add_argument("--killed-images", type=int, default=400)
    parser.add_argument("--json", type=Path, default=Path("soak.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = make_photos(folder / "photos", arguments.inspections)
        how = (photos, folder / "soak", arguments.batch_size, arguments.image_tokens)
        found = soak_on_ray(*how, arguments.actors) if arguments.actors else soak(*how)
        if arguments.kills:
            few, count = folder / "few", arguments.killed_images
            make_photos(few, count)
            finish(few, folder / "whole")
            left = kill_and_resume(few, folder / "killed", arguments.kills, count, seed=0)
            different = differences(folder / "killed", folder / "whole")
            found |= {"kills_at": left, "differ": different}
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: found[name] for name in found if name != "samples"}, indent=1))


if __name__ == "__main__":
    main()
