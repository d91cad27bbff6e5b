"""Inspecting on Ray compared with one process, and memory over time; docs/scale.md.

    python benchmarks/ray_load.py [--images 10000] [--image-tokens 36] [--actors 2]
                                 [--json cluster.json]

Both sides inspect the same small images on this machine with the same number of threads in all.
Ray's memory is that of the driver and all its processes, shared pages divided (PSS), sampled once
per second.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from measure import machine
from soak import make_photos

from flawsight.inspector import Inspector
from flawsight.io.images import find_images
from flawsight.runs.batch import inspect_into
from flawsight.runs.cluster import inspect_on_ray
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.settings import PRESETS


class Memory:
    """Samples the memory of this process and its children, in MiB."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.samples: list[tuple[float, float]] = []
        self._seconds, self._over = seconds, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        began, me = time.perf_counter(), psutil.Process()
        while not self._over.wait(self._seconds):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it has ended
                    continue
            self.samples.append((time.perf_counter() - began, total / 2**20))


def folder_bytes(folder: Path) -> dict[str, float]:
    """Return the bytes of a run folder by what they hold."""
    sizes: dict[str, float] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.parent != folder:
            kind = path.relative_to(folder).parts[0]
            sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
    return sizes


def measure(
    images: int, image_tokens: int, actors: int, batch_size: int, folder: Path
) -> dict[str, Any]:
    """Run both sides and return what was measured."""
    photos = folder / "photos"
    make_photos(photos, images)
    if not ray.is_initialized():
        # Reading and writing need CPUs besides the actors'.
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=actors + 2)
    settings = replace(PRESETS["default"], image_tokens=image_tokens)
    options: dict[str, Any] = {"device": "cpu", "batch_size": batch_size, "settings": settings}
    began = time.perf_counter()
    with Memory() as memory:
        rows = list(inspect_on_ray([str(photos)], str(folder / "ray"), options, actors=actors))
    on_ray = time.perf_counter() - began
    assert len(rows) == images
    failed = sum("error" in row for row in rows)

    inspector = Inspector.from_pretrained(**options)
    few = find_images([photos])[: max(batch_size, images // 10)]
    began = time.perf_counter()
    inspect_into(RunFolder(folder / "one", describe(inspector)), inspector, few)
    alone = time.perf_counter() - began

    mib = np.array([value for _, value in memory.samples])
    quarter = max(1, len(mib) // 4)
    return {
        "images": images,
        "image_tokens": image_tokens,
        "failed": failed,
        "actors": actors,
        "images_per_second": {"ray": images / on_ray, "one process": len(few) / alone},
        "mib": {
            "median of the second quarter": float(np.median(mib[quarter : 2 * quarter])),
            "median of the last": float(np.median(mib[-quarter:])),
            "most": float(mib.max(initial=0)),
        },
        "bytes_per_image": {k: v / images for k, v in folder_bytes(folder / "ray").items()},
        "samples": memory.samples,
        "machine": f"{machine()}, ray {ray.__version__}, bundled model, float32",
    }


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--image-tokens", type=int, default=225)
    parser.add_argument("--actors", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--json", type=Path, default=Path("cluster.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(
            arguments.images, arguments.image_tokens, arguments.actors, arguments.batch_size,
            Path(name),
        )  # fmt: skip
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "samples"}, indent=1))


if __name__ == "__main__":
    main()
