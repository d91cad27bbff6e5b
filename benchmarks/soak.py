"""Memory and pace over many inspections, and runs that are killed; docs/scale.md, "Over time".

    python benchmarks/soak.py [--inspections 20000] [--image-tokens 36] [--kills 20]
                              [--json soak.json]

First, many inspections in one process, with memory and pace sampled. Then `flawsight inspect` is
killed with SIGKILL at random moments and started again until it is done. Its run folder is compared
with that of an undisturbed command: every byte but times and the page. Batches hold one image,
because only then does each image have the same neighbours after a kill.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import resident
from PIL import Image

from flawsight.data.surfaces import render_twins
from flawsight.inspector import Inspector
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from flawsight.settings import PRESETS

SIDE = 96
DIFFERENT = 64


def make_photos(folder: Path, count: int) -> list[Path]:
    """Write small images, of which 64 differ and the others are links to them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    samples = [
        s for _ in range(-(-min(count, DIFFERENT) // 2)) for s in render_twins(rng, (SIDE, SIDE))
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
        the last three quarters; "seconds_an_image": processor time, medians of the same quarters.
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inspections", type=int, default=20000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-tokens", type=int, default=36, help="the photos are small")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--killed-images", type=int, default=400)
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
            few, folder / "killed", arguments.kills, arguments.killed_images, seed=0
        )
        found |= {"kills_at": left, "differ": differences(folder / "killed", folder / "whole")}
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    for name, unit in (("mib", "MiB"), ("seconds_an_image", "s of processor time per image")):
        second, last = found[name]
        print(f"second quarter {second:.4g}, last {last:.4g} {unit}, ratio {last / second:.3f}")
    print(f"growth {found['growth_mib_per_1000']:+.2f} MiB per 1,000 images")
    print(f"killed after {left} rows; differs from the undisturbed run: {found['differ'] or 'no'}")


if __name__ == "__main__":
    main()
