"""How time and memory grow with the image, the words, the batch, the candidates and the images.

    python benchmarks/growth.py [--rounds 3] [--smoke]

Draws docs/performance/growth.png. Candidates are those of a training step (`cgro/`), measured by
`training_speed.py`'s own worker; "images" is a whole run folder.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from json import dumps, loads
from pathlib import Path
from statistics import median

from measure import Cell, arguments_of, interleaved, rendered, report

from flawsight.inspector import Inspector
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.generate import end_tokens, generate
from flawsight.mllm.load import load_mllm
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.settings import PRESETS

VALUES = {
    "image tokens": [64, 225, 450, 900],
    "new tokens": [16, 64, 128, 256],
    "batch": [1, 4, 8, 16, 32],
    "candidates": [2, 4, 8, 16],
    "images": [32, 64, 128, 256],
}
SMOKE = {"image tokens": [64], "new tokens": [2], "batch": [1], "candidates": [], "images": [2]}


def generation(name: str, value: int) -> Callable[[], object]:
    """Return a generation of 64 tokens for 4 images of 225 tokens, but for one of these."""
    mllm = load_mllm()
    # Neither ends nor closes an answer, so that all are equally long.
    closing = mllm.processor.tokenizer.convert_tokens_to_ids("</answer>")
    mllm.model.generation_config.suppress_tokens = [closing, *end_tokens(mllm)]
    tokens, new, batch = (
        value if name == key else usual
        for key, usual in (("image tokens", 225), ("new tokens", 64), ("batch", 4))
    )
    settings = replace(PRESETS["default"], image_tokens=tokens, max_new_tokens=new)
    prompts = encode_prompts(mllm, rendered(batch, seed=3005), settings)
    return lambda: generate(mllm, prompts, settings)


def whole_run(images: int) -> Callable[[], object]:
    """Return an inspection of that many files into a new run folder."""
    inspector = Inspector.from_pretrained()
    some = rendered(min(images, 32), seed=3006)

    def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            paths = [Path(name, f"{index:05d}.png") for index in range(images)]
            for index, path in enumerate(paths):
                some[index % len(some)].save(path)
            inspect_into(RunFolder(Path(name, "run"), describe(inspector)), inspector, paths)

    return run


def training_step(candidates: int) -> tuple[float, float]:
    """Return seconds of processor time of a step, and the process's peak in MB."""
    from training_speed import Work

    script = Path(__file__).with_name("training_speed.py")
    command = [sys.executable, str(script), "--worker", "flawsight", "--steps", "2", "--work"]
    work = dumps(asdict(replace(Work(), candidates=candidates)))
    done = subprocess.run([*command, work], stdout=subprocess.PIPE, check=True, text=True)
    cost = loads(done.stdout.splitlines()[-1])
    return median(cost["seconds"][1:]), cost["peak"]


def draw(rows: list[list[Cell]], path: Path) -> None:
    """Draw both curves of each quantity."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(str(row[0]) for row in rows))
    figure, axes = pyplot.subplots(2, len(names), figsize=(3 * len(names), 5), squeeze=False)
    for column, name in enumerate(names):
        points = [row for row in rows if row[0] == name]
        for line, label in enumerate(("seconds", "peak memory, MB")):
            axis = axes[line][column]
            values = [float(point[2 + line]) for point in points]
            axis.plot([float(point[1]) for point in points], values, "o-")
            axis.set_ylim(0, 1.1 * max(values))
            axis.set_xlim(left=0)
            axis.grid(alpha=0.3)
            if column == 0:
                axis.set_ylabel(label)
        axes[1][column].set_xlabel(name)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the benchmark."""
    arguments = arguments_of(__doc__, rounds=(3, 1, "of each series"))
    rows: list[list[Cell]] = []
    for name, values in (SMOKE if arguments.smoke else VALUES).items():
        if name == "candidates":
            rows += [[name, str(value), *training_step(value)] for value in values]
            continue
        make = whole_run if name == "images" else (lambda v, name=name: generation(name, v))
        costs = interleaved({str(v): make(v) for v in values}, arguments.rounds)
        rows += [[name, value, cost.seconds, cost.peak] for value, cost in costs.items()]
    report(
        arguments.out,
        "growth",
        ["what grows", "to", "seconds", "peak memory, MB"],
        rows,
        f"Generation: 4 images of 225 tokens, 64 new tokens, if not said otherwise; medians of "
        f"{arguments.rounds} rounds. Candidates: a training step, processor time. Images: a whole "
        "run folder, written. Bundled model, float32.",
    )
    draw(rows, arguments.out / "growth.png")


if __name__ == "__main__":
    main()
