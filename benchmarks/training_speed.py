"""Time and memory of a CGRO step: this package and stock TRL; docs/results.md, "Training speed".

    python benchmarks/training_speed.py [--rounds 3] [--steps 3] [--write]

All sides train the bundled model (LoRA, float32) with the same three rewards on the same rendered
surfaces, with the same images, candidates and image tokens per step. All responses are equally
long: the end token is replaced by one that is never generated. Each measurement is a process of its
own with one thread; the sides take turns, and times are medians over all steps but each process's
first. Time is processor time, which other work on the machine hardly changes. Memory is the peak of
the process, and its growth since the model was loaded.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from measure import machine, peak, saved
from pages import markdown, parser_of, publish

from flawsight.data.dataset import Sample
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
    "trl": "TRL's GRPOTrainer, with `flawsight.integrations.trl`",
    "trl-checkpointing": "… with gradient checkpointing, its default",
}
# Never generated. In place of the end token it makes all responses equally long.
END = "<|video_pad|>"


@dataclass(frozen=True)
class Work:
    """The size of a step."""

    images: int = 4
    candidates: int = 8
    image_tokens: int = 225
    length: int = 64


WORK = Work()
# By row of the second table; measured by one process of each of two sides.
OTHER_WORK = {
    "56 image tokens": Work(image_tokens=56),
    "225 image tokens": WORK,
    "450 image tokens": Work(image_tokens=450),
    "2 candidates": Work(candidates=2),
    "16 candidates": Work(candidates=16),
    "16 tokens of a candidate": Work(length=16),
    "256 tokens of a candidate": Work(length=256),
}


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time of each step, and peak and growth of memory in MB."""

    seconds: list[float]
    peak: float
    growth: float

    @property
    def median(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.seconds)


def render(folder: Path, count: int) -> list[Sample]:
    """Write square surfaces, every second one defective."""
    paths = saved(count, 5, folder, [(240, 240)])
    return [Sample(path, i % 2, "surface", "train", "x") for i, path in enumerate(paths)]


def load() -> MLLM:
    """Load the bundled model, with an end token that is never generated."""
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
            output_dir=str(folder / "trl"), max_steps=steps, save_strategy="no", report_to="none",
            use_cpu=True, bf16=False, disable_tqdm=True, logging_steps=1,
            gradient_checkpointing=checkpointing,
            **arguments | {"max_completion_length": work.length},
        ),
        train_dataset=training_rows(render(folder, work.images)),
        peft_config=LoraConfig(
            r=64, lora_alpha=128, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )  # fmt: skip
    before = peak()
    trainer.train()
    lengths = {
        entry.get("completions/mean_length", work.length) for entry in trainer.state.log_history
    }
    assert lengths == {work.length}, lengths
    return Cost(clock.seconds, peak(), peak() - before)


def run_ours(folder: Path, work: Work, steps: int) -> Cost:
    """Take steps with this package's loop."""
    from flawsight.cgro.learner import Learner
    from flawsight.cgro.policy import make_trainable
    from flawsight.cgro.train_settings import TrainSettings
    from flawsight.cgro.trainer import make_accelerator
    from flawsight.cgro.training_data import LabelledImage

    settings = TrainSettings(images_per_step=work.images, candidates=work.candidates)
    sizes: dict[str, Any] = {"image_tokens": work.image_tokens, "max_new_tokens": work.length}
    inspection = replace(PRESETS["paper"], image_grid=None, **sizes)  # as TRL's side
    images = [LabelledImage(s.image, bool(s.label)) for s in render(folder, work.images)]
    mllm = make_trainable(load(), settings.lora_rank, settings.lora_alpha, seed=0)
    learner = Learner(
        mllm, inspection, settings, make_accelerator(settings, folder, cpu=True), folder
    )
    before = peak()
    seconds = []
    for step in range(steps):
        began = time.process_time()
        draws = range(step * work.images, (step + 1) * work.images)
        rollouts = learner.rollouts(images, draws)
        learner.update(rollouts)
        seconds.append(time.process_time() - began)
        assert all(len(ids) == work.length for rollout in rollouts for ids in rollout.ids)
    return Cost(seconds, peak(), peak() - before)


def worker(side: str, work: Work, steps: int) -> Cost:
    """Measure one side in this process."""
    with tempfile.TemporaryDirectory() as name:
        if side.startswith("trl"):
            return run_trl(Path(name), work, steps, side.endswith("checkpointing"))
        return run_ours(Path(name), work, steps)


def measure(sides: Sequence[str], work: Work, rounds: int, steps: int) -> dict[str, Cost]:
    """Run the sides in turns, each time in a new process; its first step is left out."""
    found: dict[str, list[Cost]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            command = [sys.executable, __file__, "--steps", str(steps + 1)]
            command += ["--worker", side, json.dumps(asdict(work))]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            cost = Cost(**json.loads(done.stdout.splitlines()[-1]))
            print(f"{side}: {cost}", file=sys.stderr, flush=True)
            found[side].append(replace(cost, seconds=cost.seconds[1:]))
    return {
        side: Cost(
            [seconds for cost in costs for seconds in cost.seconds],
            statistics.median(cost.peak for cost in costs),
            statistics.median(cost.growth for cost in costs),
        )
        for side, costs in found.items()
    }


def table(costs: dict[str, Cost]) -> str:
    """Return all sides relative to ours."""
    ours = costs["flawsight"]
    rows = [
        [SIDES[side], f"{cost.median:.2f}", f"{cost.median / ours.median:.2f}",
         f"{cost.peak:.0f}", f"{cost.growth:.0f}"]
        for side, cost in costs.items()
    ]  # fmt: skip
    columns = ["", "s per step", "times ours", "peak memory, MB", "since loading, MB"]
    return markdown(columns, rows)


def other_work(others: dict[str, dict[str, Cost]]) -> str:
    """Return ours and TRL's for OTHER_WORK."""
    compared = [
        [name, f"{ours.median:.2f}", f"{trl.median:.2f}", f"{trl.median / ours.median:.1f}",
         f"{ours.peak:.0f}", f"{trl.peak:.0f}", f"{ours.peak / trl.peak:.2f}"]
        for name, cost in others.items()
        for ours, trl in [(cost["flawsight"], cost["trl"])]
    ]  # fmt: skip
    columns = ["", "ours, s", "TRL, s", "times ours", "our peak, MB", "TRL's", "ratio"]
    return markdown(columns, compared)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of each process, after a first one")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # processor time would add up over several
    if arguments.worker:
        side, work = arguments.worker
        print(json.dumps(asdict(worker(side, Work(**json.loads(work)), arguments.steps))))
        return
    costs = measure(list(SIDES), WORK, arguments.rounds, arguments.steps)
    others = {
        name: costs if work == WORK else measure(["flawsight", "trl"], work, 1, arguments.steps)
        for name, work in OTHER_WORK.items()
    }
    note = (
        f"{WORK.images} images × {WORK.candidates} candidates of "
        f"{WORK.length} tokens per step, {WORK.image_tokens} image tokens; bundled model, LoRA of "
        f"rank 64, float32. Medians of {arguments.rounds} processes of {arguments.steps} steps. "
        f"{machine()}, trl {version('trl')}."
    )
    print(f"{other_work(others)}\n\nMedians of one process.\n")
    publish("training_speed", f"{table(costs)}\n\n{note}", arguments.write)


if __name__ == "__main__":
    main()
