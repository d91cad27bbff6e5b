"""Does it stay as fast and as small, and does a kill cost nothing: docs/scale.md, "Over time".

    python benchmarks/soak.py [--inspections 20000] [--image-tokens 36] [--kills 20]
                              [--json soak.json]

First, many inspections in one process, with memory and pace sampled. Then `flawsight inspect` is
killed with SIGKILL at random moments, started again until it is done, and its run folder compared
with that of a command that was left alone: every byte but times and the page. An image a batch,
for only then are an image's neighbours the same after a kill.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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
    """Write as many small images, of which 64 differ and the others are links to them."""
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


def resident() -> float:
    """Return this process' memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(
    photos: list[Path], run: Path, batch_size: int, image_tokens: int, samples: int = 40
) -> dict[str, Any]:
    """Inspect all images in this process; return the samples and what they amount to.

    Returns:
        "samples": (images so far, seconds of the processor so far, MiB); "mib": medians of the
        second and the last quarter, for the first warms up; "growth_mib_per_1000": of a line
        through the last three quarters; "seconds_an_image": of the processor, which other programs
        hardly touch, medians of the same quarters.
    """
    settings = replace(PRESETS["default"], image_tokens=image_tokens)
    inspector = Inspector.from_pretrained(device="cpu", batch_size=batch_size, settings=settings)
    every = max(1, len(photos) // samples)
    rows: list[tuple[int, float, float]] = []
    began = time.process_time()
    done = 0

    def on_row(_row: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        if done % every == 0:
            rows.append((done, time.process_time() - began, resident()))

    inspect_into(RunFolder(run, describe(inspector)), inspector, photos, on_row)
    counts, seconds, mib = (np.array(values, float) for values in zip(*rows, strict=True))
    pace = np.diff(seconds, prepend=0.0) / np.diff(counts, prepend=0.0)
    quarter = max(1, len(rows) // 4)
    second, last = slice(quarter, 2 * quarter), slice(-quarter, None)
    slope = np.polyfit(counts[quarter:], mib[quarter:], 1)[0] if len(rows) - quarter > 1 else 0.0
    return {
        "images": len(photos),
        "samples": rows,
        "mib": [float(np.median(mib[part])) for part in (second, last)],
        "growth_mib_per_1000": float(slope) * 1000,
        "seconds_an_image": [float(np.median(pace[part])) for part in (second, last)],
    }


def command(photos: Path, run: Path) -> list[str]:
    """Return the command that inspects a folder, an image a batch."""
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
    """Count the rows so far, the torn one that a kill may leave included."""
    path = run / "inspections.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def kill_and_resume(photos: Path, run: Path, kills: int, images: int, seed: int) -> list[int]:
    """Run the command to its end through SIGKILLs; return the rows that each left."""
    dice = random.Random(seed)
    left = []
    step = images / (kills + 1)
    for kill in range(kills):
        # After so many rows, and then anywhere in the work on the next one.
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
    """Name what differs between two run folders but for times and the page."""

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
        # Failures are tried again, and so come last.
        order = {"order": [row["image"] for row in read_rows(folder) if "error" not in row]}
        return files | rows | order

    one, two = content(run), content(other)
    return sorted(name for name in one | two if one.get(name) != two.get(name))


def main() -> None:
    """Run both parts, print them, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inspections", type=int, default=20000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-tokens", type=int, default=36, help="the photos are small")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--killed-images", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("soak.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = make_photos(folder / "photos", arguments.inspections)
        found = soak(photos, folder / "soak", arguments.batch_size, arguments.image_tokens)
        few = folder / "few"
        make_photos(few, arguments.killed_images)
        finish(few, folder / "whole")
        left = kill_and_resume(
            few, folder / "killed", arguments.kills, arguments.killed_images, arguments.seed
        )
        found |= {"kills_at": left, "differ": differences(folder / "killed", folder / "whole")}
    second, last = found["mib"]
    slow = found["seconds_an_image"]
    print(f"{found['images']} inspections in one process, second quarter and last:")
    print(f"  memory {second:.0f} and {last:.0f} MiB, ratio {last / second:.3f}")
    print(f"  growth {found['growth_mib_per_1000']:+.2f} MiB per 1,000 images")
    print(
        f"  {slow[0]:.4f} and {slow[1]:.4f} s of the processor an image, ratio "
        f"{slow[1] / slow[0]:.3f}"
    )
    print(
        f"{len(left)} kills, after {left} rows (median {statistics.median(left or [0]):.0f}); "
        f"what differs from the run left alone: {found['differ'] or 'nothing'}"
    )
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
