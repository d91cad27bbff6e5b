"""Memory and pace over many inspections and requests, and kills; docs/scale.md, performance.md.

    python benchmarks/soak.py [--inspections 20000] [--image-tokens 36] [--actors N]
                              [--kills 20] [--requests 20000] [--out FOLDER]

Each part is left out at 0. First, many inspections in one process, or with --actors on a local Ray,
with memory and pace sampled. Then `flawsight inspect` is killed with SIGKILL at random moments and
started again until it is done. Its run folder is compared with that of an undisturbed command:
every byte but times and the page. Batches hold one image, because only then does each image have
the same neighbours after a kill. Last, requests to the service (soak_service.py); their table is
written as OUT/soak.json and into docs/performance.md.
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
import psutil
from measure import arguments_of, machine, report, resident, saved
from numpy.typing import NDArray
from soak_service import COLUMNS, soak_service

from flawsight.inspector import Inspector
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from flawsight.settings import PRESETS

DIFFERENT = 64


def make_photos(folder: Path, count: int) -> list[Path]:
    """Write images of 96×96, of which 64 differ and the others are links to them."""
    folder.mkdir(parents=True)
    paths = saved(min(count, DIFFERENT), 0, folder, [(96, 96)])
    for index in range(DIFFERENT, count):
        paths.append(folder / f"{index:04}.png")
        os.link(paths[index % DIFFERENT], paths[-1])
    return paths


def soak(
    photos: list[Path], run: Path, batch_size: int, image_tokens: int, samples: int = 40
) -> dict[str, Any]:
    """Inspect all images in this process.

    Returns:
        "samples": (images so far, processor seconds so far, MiB); "mib": medians of the second and
        the last quarter, because the first warms up; "seconds_an_image": those of processor time.
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
    counts, seconds, mib = (np.array(values, float) for values in zip(*rows, strict=True))
    pace = np.diff(seconds, prepend=0.0) / np.diff(counts, prepend=0.0)
    return {
        "images": len(photos),
        "samples": rows,
        "mib": quarters(mib),
        "seconds_an_image": quarters(pace),
        "images_per_second": done / (time.perf_counter() - began_wall),
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
    """Run the parts and print them."""
    arguments = arguments_of(
        __doc__, inspections=(20000, 0, "in all"), batch_size=(8, 8, "of the inspections"),
        image_tokens=(36, 36, "the photos are small"), actors=(0, 0, "on Ray; 0: in this process"),
        kills=(20, 0, "of the command"), killed_images=(400, 6, "that it inspects"),
        requests=(20000, 40, "to the service"),
    )  # fmt: skip
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.inspections:
            photos = make_photos(folder / "photos", arguments.inspections)
            how = (photos, folder / "soak", arguments.batch_size, arguments.image_tokens)
            found = soak_on_ray(*how, arguments.actors) if arguments.actors else soak(*how)
        if arguments.kills:
            few, killed, count = folder / "few", folder / "killed", arguments.killed_images
            make_photos(few, count)
            finish(few, folder / "whole")
            found["kills_at"] = kill_and_resume(few, killed, arguments.kills, count, seed=0)
            found["differ"] = differences(killed, folder / "whole")
    print(json.dumps(found))
    if arguments.requests:
        rows, note, missed = soak_service(arguments.requests)
        report(arguments.out, "soak", COLUMNS, rows, note)
        if missed and not arguments.smoke:
            raise SystemExit(f"Not reached: {', '.join(missed)}.")


if __name__ == "__main__":
    main()
