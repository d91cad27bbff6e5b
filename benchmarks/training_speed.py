"""A step of CGRO: ours, ours without sharing, and stock TRL's: docs/results.md, "Training speed".

    python benchmarks/training_speed.py [--write]

All sides train the bundled model (LoRA, float32) with the same three rewards on the same rendered
surfaces, as many images, candidates and image tokens a step, and responses of exactly the same
length: the end token is exchanged for one that is never said. Each measurement is a process of its
own, with one thread, the sides take turns, and the figure is the median over all steps but each
process's first. Time is that of the processor, so that it holds on a machine with other work, too.
Memory is the process's peak, and what it grew by since the model was loaded.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import peak
from PIL import Image
from pages import write_section

from flawsight.data.dataset import Sample
from flawsight.data.surfaces import TEST_FAMILIES, render_twins
from flawsight.integrations.trl import (
    ConsistencyReward,
    accuracy_reward,
    format_reward,
    paper_arguments,
    set_image_tokens,
    training_rows,
)
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.settings import PRESETS

SIDES = {
    "flawsight": "`flawsight train`",
    "packed": "… prompt and candidates packed into one row",
    "repeated": "… nothing shared in the gradient pass",
    "trl": "TRL's GRPOTrainer, with `flawsight.integrations.trl`",
    "trl-checkpointing": "… with gradient checkpointing, its default",
}
# What the cost grows with: of `Work`, and how much of it.
GROWTH = (
    ("image_tokens", "image tokens", (56, 225, 450)),
    ("candidates", "candidates", (2, 8, 16)),
    ("length", "tokens of a candidate", (16, 64, 256)),
)
# Never said. It is exchanged for the end token, so that all responses are equally long.
END = "<|video_pad|>"


@dataclass(frozen=True)
class Work:
    """What a step has to do."""

    images: int = 4
    candidates: int = 8
    image_tokens: int = 225
    length: int = 64


@dataclass(frozen=True)
class Cost:
    """What it took: seconds of processor time of each step, and MB."""

    seconds: list[float]
    peak: float
    growth: float


def render(folder: Path, count: int) -> list[Sample]:
    """Write square surfaces, every second one defective."""
    rng = np.random.default_rng(5)
    samples = []
    for index in range(-(-count // 2)):
        family = TEST_FAMILIES[index % len(TEST_FAMILIES)]
        for label, surface in enumerate(render_twins(rng, (240, 240), family=family)):
            path = folder / ("bad" if label else "good") / f"{index:03d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(surface.image).save(path)
            samples.append(Sample(path, label, family, "train", path.parent.name))
    return samples


def load() -> MLLM:
    """Load the bundled model, with an end token that is never said."""
    mllm = load_mllm(device="cpu")
    mllm.processor.tokenizer.eos_token = END
    mllm.model.generation_config.eos_token_id = mllm.processor.tokenizer.eos_token_id
    return mllm


def run_trl(folder: Path, work: Work, steps: int, checkpointing: bool) -> Cost:
    """Take steps with TRL."""
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from flawsight.cgro.policy import LORA_TARGETS

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.process_time() - self.began)

    mllm = load()
    set_image_tokens(mllm.processor, work.image_tokens)
    arguments = paper_arguments(work.images, work.candidates, batch_size=work.candidates)
    clock = Clock()
    trainer = GRPOTrainer(
        model=mllm.model,
        processing_class=mllm.processor,
        reward_funcs=[format_reward, accuracy_reward, ConsistencyReward(mllm)],
        args=GRPOConfig(
            output_dir=str(folder / "trl"),
            max_steps=steps,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            logging_steps=1,
            gradient_checkpointing=checkpointing,
            **arguments | {"max_completion_length": work.length},
        ),
        train_dataset=training_rows(render(folder, work.images)),
        peft_config=LoraConfig(
            r=64, lora_alpha=128, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    before = peak()
    trainer.train()
    lengths = [
        entry["completions/mean_length"]
        for entry in trainer.state.log_history
        if "completions/mean_length" in entry
    ]
    assert all(length == work.length for length in lengths), lengths
    return Cost(clock.seconds, peak(), peak() - before)


def run_ours(folder: Path, work: Work, steps: int, sharing: Any) -> Cost:
    """Take steps with our loop."""
    from flawsight.cgro.learner import Learner
    from flawsight.cgro.policy import make_trainable
    from flawsight.cgro.train_settings import TrainSettings
    from flawsight.cgro.trainer import make_accelerator
    from flawsight.cgro.training_data import LabelledImage

    settings = TrainSettings(
        images_per_step=work.images, candidates=work.candidates, sharing=sharing
    )
    inspection = replace(
        PRESETS["paper"], image_tokens=work.image_tokens, max_new_tokens=work.length
    )
    images = [LabelledImage(s.image, bool(s.label)) for s in render(folder, work.images)]
    mllm = make_trainable(load(), "lora", settings.lora_rank, settings.lora_alpha, seed=0)
    learner = Learner(
        mllm, inspection, settings, make_accelerator(settings, folder, cpu=True), folder
    )
    before = peak()
    seconds = []
    for step in range(steps):
        began = time.process_time()
        draws = range(step * work.images, (step + 1) * work.images)
        rollouts = learner.rollouts(images, draws)
        learner.update(rollouts, step)
        seconds.append(time.process_time() - began)
        assert all(len(ids) == work.length for rollout in rollouts for ids in rollout.ids)
    return Cost(seconds, peak(), peak() - before)


def worker(side: str, work: Work, steps: int) -> Cost:
    """Measure one side in this process."""
    torch.set_num_threads(1)  # processor time would add up over several
    with tempfile.TemporaryDirectory() as name:
        if side.startswith("trl"):
            return run_trl(Path(name), work, steps, side.endswith("checkpointing"))
        return run_ours(Path(name), work, steps, "cache" if side == "flawsight" else side)


def measure(sides: list[str], work: Work, rounds: int, steps: int) -> dict[str, Cost]:
    """Let the sides take turns, each time in a new process; the first step warms up."""
    found: dict[str, list[Cost]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            command = [sys.executable, __file__, "--worker", side, "--steps", str(steps + 1)]
            command += ["--work", json.dumps(asdict(work))]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            cost = Cost(**json.loads(done.stdout.splitlines()[-1]))
            print(f"{side}, {work}: {cost}", file=sys.stderr, flush=True)
            found[side].append(replace(cost, seconds=cost.seconds[1:]))
    return {
        side: Cost(
            [seconds for cost in costs for seconds in cost.seconds],
            statistics.median(cost.peak for cost in costs),
            statistics.median(cost.growth for cost in costs),
        )
        for side, costs in found.items()
    }


def side_by_side(costs: dict[str, Cost]) -> list[str]:
    """Return the table of all sides at the same work."""
    lines = [
        "| | s a step (least to most) | times ours | peak memory | since loading | times ours |",
        "|---|---|---|---|---|---|",
    ]
    ours = costs["flawsight"]
    for side, cost in costs.items():
        seconds = statistics.median(cost.seconds)
        lines.append(
            f"| {SIDES[side]} | {seconds:.2f} ({min(cost.seconds):.2f}–{max(cost.seconds):.2f}) "
            f"| {seconds / statistics.median(ours.seconds):.2f} | {cost.peak:.0f} MB "
            f"| {cost.growth:.0f} MB | {cost.growth / ours.growth:.2f} |"
        )
    return lines


def growth(known: dict[str, Cost], rounds: int, steps: int) -> list[str]:
    """Return the tables of how both costs grow with the work, around the one that is known."""
    sides = ["flawsight", "trl"]
    lines: list[str] = []
    for name, title, counts in GROWTH:
        lines += [
            "",
            f"| {title} | ours, s | TRL, s | times ours | our peak memory | TRL's | ours by TRL's "
            "| ours, since loading | TRL's |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for count in counts:
            work = replace(Work(), **{name: count})
            costs = known if work == Work() else measure(sides, work, rounds, steps)
            ours, trl = (costs[side] for side in sides)
            seconds = [statistics.median(cost.seconds) for cost in (ours, trl)]
            lines.append(
                f"| {count} | {seconds[0]:.2f} | {seconds[1]:.2f} | {seconds[1] / seconds[0]:.1f} "
                f"| {ours.peak:.0f} MB | {trl.peak:.0f} MB | {ours.peak / trl.peak:.2f} "
                f"| {ours.growth:.0f} MB | {trl.growth:.0f} MB |"
            )
    return lines


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of each process, after a first one")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        cost = worker(arguments.worker, Work(**arguments.work), arguments.steps)
        print(json.dumps(asdict(cost)))
        return
    work = Work()
    costs = measure(list(SIDES), work, arguments.rounds, arguments.steps)
    lines = side_by_side(costs) + growth(costs, 1, arguments.steps)
    lines += [
        "",
        f"If not said otherwise, {work.images} images × {work.candidates} candidates of "
        f"{work.length} tokens a step, {work.image_tokens} image tokens; bundled model, LoRA of "
        f"rank 64, float32. Medians of {arguments.rounds} processes of {arguments.steps} steps; "
        f"of one for other work. {platform.machine()}, one thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, trl {version('trl')}.",
    ]
    print("\n".join(lines))
    if arguments.write:
        write_section("training_speed", "\n".join(lines))


if __name__ == "__main__":
    main()
