"""Where the time of an inspection goes: the whole command, and each stage of it.

    python benchmarks/stages.py [--images 96] [--rounds 5] [--smoke]

The command is timed from outside, on newly rendered images. Its stages are timed alone, one batch
at a time; in the command they overlap.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from measure import Side, arguments_of, interleaved, report, saved
from pages import Cell

from flawsight.inspector import Inspector
from flawsight.mllm.generate import generate
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder


def time_command(folder: Path, out: Path) -> tuple[float, float, float]:
    """Return seconds to the first verdict, seconds in all, and peak memory in MB."""
    began = time.perf_counter()
    command = [sys.executable, "-u", "-m", "flawsight", "inspect", str(folder), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = 0.0
        for line in process.stdout:
            if not first and line.startswith(("good", "DEFECTIVE")):
                first = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    if process.returncode:
        raise SystemExit(f"the command failed with {process.returncode}")
    return first, time.perf_counter() - began, peak


@torch.inference_mode()
def stages(paths: list[Path], out: Path, rounds: int) -> list[list[Cell]]:
    """Time each stage of one batch."""
    inspector = Inspector.from_pretrained(batch_size=len(paths))
    mllm, settings = inspector.mllm, inspector.settings
    prepared = inspector.prepare(paths)
    prompts = prepared.prompts
    assert prompts is not None
    inputs = prompts.inputs
    traced = inspector.trace(prepared)
    localized = list(inspector.localize(traced))
    run = RunFolder(out, describe(inspector))

    def write() -> None:
        for photo, inspection in localized:
            if not isinstance(inspection, Exception):
                assert photo is not None
                run.add(inspection, photo)

    sides: dict[str, Side] = {
        "read, scale, tokenize": lambda: inspector.prepare(paths),
        "vision encoder": lambda: mllm.model.model.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"]
        ),
        "vision encoder and prompt": lambda: mllm.model(**inputs, logits_to_keep=1),
        "all of generation, with capture": lambda: generate(mllm, prompts, settings),
        "token scores and maps": lambda: list(inspector.localize(traced)),
        "write": write,
    }
    to_ms, costs = 1e3 / len(paths), interleaved(sides, rounds)
    return [
        [f"{name}, {len(paths)} at once", cost.seconds * to_ms, min(cost.cpu) * to_ms]
        for name, cost in costs.items()
    ]


def main() -> None:
    """Run the benchmark."""
    arguments = arguments_of(
        __doc__, images=(96, 2, "of the command"), rounds=(5, 1, "of the stages")
    )
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        photos.mkdir()
        paths = saved(arguments.images, 3002, photos)
        first, whole, peak = time_command(photos, Path(name, "run"))
        rows: list[list[Cell]] = [
            ["the command, to its first verdict", first * 1e3, "–"],
            [f"an image, whole command on {arguments.images}", whole / arguments.images * 1e3, "–"],
        ]
        for batch in (1,) if arguments.smoke else (1, 16):
            rows += stages(paths[:batch], Path(name, f"stages-{batch}"), arguments.rounds)
    report(
        arguments.out,
        "stages",
        ["what", "ms an image", "least processor ms an image"],
        rows,
        f"Peak memory of the command {peak:.0f} MB. Stages: medians of {arguments.rounds} rounds. "
        "Bundled model, float32.",
    )


if __name__ == "__main__":
    main()
