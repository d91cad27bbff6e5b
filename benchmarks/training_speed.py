"""Time and memory of a CGRO step: this package and stock TRL; docs/results.md, "Training speed".

    python benchmarks/training_speed.py [--rounds 3] [--steps 3] [--write]

All sides train the bundled model (LoRA, float32) with the same three rewards on the same rendered
surfaces, with the same images, candidates and image tokens per step. All responses are equally
long: the end token is replaced by one that is never generated. Each measurement is a process of its
own with one thread; the sides take turns, and times are medians over all steps but each process's
first. Time is processor time, which other work on the machine hardly changes. Memory is the peak of
the process, and its growth since the model was loaded.
"""

import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from multiprocessing import get_context
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
END = "<|video_pad|>"


IMAGES, CANDIDATES, IMAGE_TOKENS, LENGTH = 4, 8, 225, 64


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time of each step, and peak and growth of memory in MB."""

    seconds: list[float]
    peak: float
    growth: float


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


def run_trl(folder: Path, steps: int, checkpointing: bool) -> Cost:
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
    set_image_tokens(mllm.processor, IMAGE_TOKENS)
    arguments = paper_arguments(IMAGES, CANDIDATES, batch_size=CANDIDATES)
    clock = Clock()
    trainer = GRPOTrainer(
        model=mllm.model,
        processing_class=mllm.processor,
        reward_funcs=[format_reward, accuracy_reward, ConsistencyReward(mllm)],
        args=GRPOConfig(
            output_dir=str(folder / "trl"), max_steps=steps, save_strategy="no", report_to="none",
            use_cpu=True, bf16=False, disable_tqdm=True, logging_steps=1,
            gradient_checkpointing=checkpointing,
            **arguments | {"max_completion_length": LENGTH},
        ),
        train_dataset=training_rows(render(folder, IMAGES)),
        peft_config=LoraConfig(
            r=64, lora_alpha=128, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )  # fmt: skip
    before = peak()
    trainer.train()
    lengths = {entry.get("completions/mean_length", LENGTH) for entry in trainer.state.log_history}
    assert lengths == {LENGTH}, lengths
    return Cost(clock.seconds, peak(), peak() - before)


def run_ours(folder: Path, steps: int) -> Cost:
    """Take steps with this package's loop."""
    from flawsight.cgro.learner import Learner
    from flawsight.cgro.policy import make_trainable
    from flawsight.cgro.train_settings import TrainSettings
    from flawsight.cgro.trainer import make_accelerator
    from flawsight.cgro.training_data import LabelledImage

    settings = TrainSettings(images_per_step=IMAGES, candidates=CANDIDATES)
    sizes: dict[str, Any] = {"image_tokens": IMAGE_TOKENS, "max_new_tokens": LENGTH}
    inspection = replace(PRESETS["paper"], image_grid=None, **sizes)  # as TRL's side
    images = [LabelledImage(s.image, bool(s.label)) for s in render(folder, IMAGES)]
    mllm = make_trainable(load(), settings.lora_rank, settings.lora_alpha, seed=0)
    learner = Learner(
        mllm, inspection, settings, make_accelerator(settings, folder, cpu=True), folder
    )
    before = peak()
    seconds = []
    for step in range(steps):
        began = time.process_time()
        draws = range(step * IMAGES, (step + 1) * IMAGES)
        rollouts = learner.rollouts(images, draws)
        learner.update(rollouts)
        seconds.append(time.process_time() - began)
        assert all(len(ids) == LENGTH for rollout in rollouts for ids in rollout.ids)
    return Cost(seconds, peak(), peak() - before)


def worker(side: str, steps: int) -> Cost:
    """Measure one side in this process."""
    torch.set_num_threads(1)  # processor time would add up over several
    with tempfile.TemporaryDirectory() as name:
        if side.startswith("trl"):
            return run_trl(Path(name), steps, side.endswith("checkpointing"))
        return run_ours(Path(name), steps)


def measure(rounds: int, steps: int) -> dict[str, Cost]:
    """Run the sides in turns, each time in a new process; its first step is left out."""
    found: dict[str, list[Cost]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                cost = pool.submit(worker, side, steps + 1).result()
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
    seconds = {side: statistics.median(cost.seconds) for side, cost in costs.items()}
    rows = [
        [SIDES[side], f"{seconds[side]:.2f}", f"{seconds[side] / seconds['flawsight']:.2f}",
         f"{cost.peak:.0f}", f"{cost.growth:.0f}"]
        for side, cost in costs.items()
    ]  # fmt: skip
    columns = ["", "s per step", "times ours", "peak memory, MB", "since loading, MB"]
    return markdown(columns, rows)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of each process, after a first one")
    arguments = parser.parse_args()
    note = (
        f"{IMAGES} images × {CANDIDATES} candidates of "
        f"{LENGTH} tokens per step, {IMAGE_TOKENS} image tokens; bundled model, LoRA of "
        f"rank 64, float32. Medians of {arguments.rounds} processes of {arguments.steps} steps. "
        f"{machine()}, trl {version('trl')}."
    )
    costs = measure(arguments.rounds, arguments.steps)
    publish("training_speed", f"{table(costs)}\n\n{note}", arguments.write)


if __name__ == "__main__":
    main()
