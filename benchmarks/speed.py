"""Speed and memory of the command and of the capture: docs/results.md, section "Speed".

    python benchmarks/speed.py [--write]

Whole commands are timed from outside, on freshly rendered images; capture against plain generation
is a ratio of runs that take turns in one process.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from results import write_section

from flawsight.data.surfaces import TEST_FAMILIES, render_twins
from flawsight.mllm.generate import encode_prompts, generate
from flawsight.mllm.load import load_mllm
from flawsight.settings import PRESETS

ROUNDS = 9
SIZES = [(240, 240), (200, 300), (320, 180)]


def rendered(number: int, seed: int) -> list[Image.Image]:
    """Return surfaces of unseen families, every second one defective, of three aspects."""
    rng = np.random.default_rng(seed)
    twins = [
        render_twins(rng, SIZES[i % 3], family=TEST_FAMILIES[i % len(TEST_FAMILIES)])
        for i in range(-(-number // 2))
    ]
    return [Image.fromarray(sample.image) for pair in twins for sample in pair][:number]


def time_command(folder: Path, out: Path) -> tuple[float, float, float]:
    """Return seconds to the first verdict, seconds in all, and peak memory in GB."""
    began = time.perf_counter()
    command = [sys.executable, "-u", "-m", "flawsight", "inspect", str(folder), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = 0.0
        for line in process.stdout:
            if not first and line.startswith(("good", "DEFECTIVE")):
                first = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    if process.returncode:
        raise SystemExit(f"the command failed with {process.returncode}")
    return first, time.perf_counter() - began, peak


def capture_ratio(batch_size: int) -> float:
    """Median over rounds of generation time with capture over plain generation of the same text."""
    mllm = load_mllm()
    settings = PRESETS["default"]
    images = rendered(batch_size, seed=3001)

    @torch.inference_mode()
    def plain() -> None:
        mllm.model.generate(
            **encode_prompts(mllm, images, settings).inputs,
            do_sample=False,
            max_new_tokens=settings.max_new_tokens,
        )

    ratios = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        generate(mllm, images, settings)
        between = time.perf_counter()
        plain()
        ratios.append((between - began) / (time.perf_counter() - between))
    return statistics.median(ratios[1:])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    arguments = parser.parse_args()
    lines = ["| what | measured |", "|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        photos.mkdir()
        for index, image in enumerate(rendered(arguments.images, seed=3002)):
            image.save(photos / f"{index:04d}.png")
        first, whole, peak = time_command(photos, Path(name, "run"))
    lines += [
        f"| first verdict, from the command's start | {first:.1f} s |",
        f"| an image, whole command on {arguments.images} | {whole / arguments.images:.3f} s |",
        f"| peak memory of the command | {peak:.2f} GB |",
    ]
    for batch_size in (1, 8):
        lines.append(
            f"| generation with capture / without, {batch_size} at once, median of {ROUNDS} "
            f"| {capture_ratio(batch_size):.2f} |"
        )
    text = "\n".join(
        [
            *lines,
            "",
            f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
            f"torch {torch.__version__}, bundled model, float32.",
        ]
    )
    print(text)
    if arguments.write:
        write_section("speed", text)


if __name__ == "__main__":
    main()
