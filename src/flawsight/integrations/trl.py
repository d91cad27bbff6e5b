"""CGRO's rewards for the GRPOTrainer of Hugging Face TRL (tested with trl 1.16).

TRL passes the completions to a reward function but not the model, whose attention R_cons needs.
`ConsistencyReward` therefore holds the model itself. PEFT adds its LoRA layers to the modules of
the model that it is given, so the model given to GRPOTrainer is the policy at every step. The token
ids of the completions are replayed through it in one forward pass without a gradient.

    mllm = load_mllm("Qwen/Qwen2.5-VL-3B-Instruct")
    set_image_tokens(mllm.processor, 225)
    trainer = GRPOTrainer(
        model=mllm.model,
        processing_class=mllm.processor,
        reward_funcs=[format_reward, accuracy_reward, ConsistencyReward(mllm)],
        args=GRPOConfig(output_dir="run", **paper_arguments()),
        train_dataset=training_rows(samples),
        peft_config=LoraConfig(r=64, lora_alpha=128, target_modules=LORA_TARGETS),
    )

`examples/train_with_trl.py` is a whole program. Each process must hold the whole policy, as under
DDP; FSDP and ZeRO-3 are not supported.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from PIL.Image import Image

from ..cgro.score_rollout import Score, score_text, score_trace
from ..cgro.train_settings import Consistency
from ..data.dataset import Sample
from ..errors import MissingExtraError, SettingsError
from ..io.images import read_image
from ..mllm.families.qwen_vl import QwenVL
from ..mllm.load import MLLM
from ..mllm.replay import replay
from ..prompt import user_message
from ..settings import PRESETS, Settings


def format_reward(completions: list[Any], **_: Any) -> list[float]:
    """R_fmt of each completion, see `rewards.format_reward`."""
    return [score_text(_text(completion), True).format for completion in completions]


def accuracy_reward(completions: list[Any], label: list[int], **_: Any) -> list[float]:
    """R_acc of each completion, see `rewards.accuracy_reward`; `label` is the rows' column."""
    return [
        score_text(_text(completion), bool(y)).accuracy
        for completion, y in zip(completions, label, strict=True)
    ]


class ConsistencyReward:
    """R_cons of each completion under the current policy, see `score_rollout.score_trace`.

    J of defective and of normal images is logged too, as "J/defective" and "J/normal".

    Args:
        mllm: its model and processor must be those given to GRPOTrainer.
        settings: how S_T and S_I are computed. `image_tokens` and `image_grid` are ignored: the
            processor decides the size of the images, here as in TRL.
        consistency: of R_cons; None takes its defaults.
        batch_size: number of completions replayed at once.
    """

    __name__ = "consistency_reward"  # TRL logs it under this name

    def __init__(
        self,
        mllm: MLLM,
        settings: Settings = PRESETS["paper"],
        consistency: Consistency | None = None,
        batch_size: int = 8,
    ) -> None:
        self.mllm, self.batch_size = mllm, batch_size
        self.consistency = consistency or Consistency()
        self.settings = replace(settings, image_tokens=None, image_grid=None)

    def __call__(
        self,
        completion_ids: list[list[int]],
        image: list[Image],
        label: list[int],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float]:
        """Return the rewards of N completions. TRL passes the columns of the rows by name."""
        scores = self.scores(image, completion_ids, label)
        if log_metric is not None:
            for name, wanted in (("J/defective", True), ("J/normal", False)):
                found = [
                    score.agreement
                    for score, y in zip(scores, label, strict=True)
                    if bool(y) == wanted and score.top[1:]
                ]
                if found:
                    log_metric(name, statistics.fmean(found))
        return [score.consistency for score in scores]

    def scores(
        self, images: Sequence[Image], responses: Sequence[Sequence[int]], label: Sequence[int]
    ) -> list[Score]:
        """Replay N responses and score them; `label` is 1 for a defective image, else 0."""
        model = self.mllm.model
        was_training = model.training
        model.eval()  # no dropout, and no gradient checkpointing, which would run layers twice
        try:
            scores = []
            for start in range(0, len(responses), self.batch_size):
                batch = slice(start, start + self.batch_size)
                traces = replay(self.mllm, images[batch], responses[batch], self.settings)
                scores += [
                    score_trace(trace, bool(y), self.settings, self.consistency)
                    for trace, y in zip(traces, label[batch], strict=True)
                ]
            return scores
        finally:
            model.train(was_training)


def set_image_tokens(processor: Any, image_tokens: int) -> None:
    """Make a processor scale every image to about this many tokens, keeping its aspect."""
    area = QwenVL().pixels(processor, image_tokens)
    processor.image_processor.size = {"shortest_edge": area, "longest_edge": area}


def training_rows(
    samples: Sequence[Sample],
    question: str = PRESETS["paper"].question,
    bit_depth: int | None = None,
) -> Any:
    """Return a `datasets.Dataset` with the columns prompt, image and label.

    Images are read when a row is used, and turned upright; `bit_depth` is that of `Settings`.

    Raises:
        MissingExtraError: if `datasets` is not installed.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise MissingExtraError("trl", "trl") from error
    text = user_message(question)[0]["content"][1]["text"]  # TRL puts the image before it

    def with_prompt(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        prompt = [{"role": "user", "content": text}]
        return {
            "prompt": [prompt for _ in rows["path"]],
            "image": [read_image(path, bit_depth) for path in rows["path"]],
            "label": rows["label"],
        }

    rows = Dataset.from_dict(
        {"path": [str(s.image) for s in samples], "label": [s.label for s in samples]}
    )
    return rows.with_transform(with_prompt)


def paper_arguments(
    images: int = 16, candidates: int = 8, batch_size: int = 8, processes: int = 1
) -> dict[str, Any]:
    """Return the arguments of GRPOConfig that make an optimizer step of it the paper's.

    Args:
        images: of one step [paper: 16].
        candidates: G of each image [paper: 8].
        batch_size: completions in one pass of a process; it changes memory alone.
        processes: number of processes that share the step.

    Raises:
        SettingsError: if the step does not divide into such batches.
    """
    passes, rest = divmod(images * candidates, batch_size * processes)
    if rest or not passes:
        raise SettingsError(
            f"{images} images × {candidates} candidates cannot be cut into batches of "
            f"{batch_size} on {processes} processes."
        )
    return {
        "num_generations": candidates,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": passes,
        # TRL's defaults are the DAPO loss, no KL, and a bias correction of the KL.
        "loss_type": "grpo",
        "use_bias_correction_kl": False,
        # Not published; these are the values of VLM-R1's LoRA recipe [ours].
        "beta": 0.04,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "max_completion_length": PRESETS["paper"].max_new_tokens,
    }


def _text(completion: Any) -> str:
    """Return the text of a completion, which is a string or a list of messages."""
    return completion if isinstance(completion, str) else str(completion[0]["content"])
