"""Every setting of a training, as one frozen object that is saved with the run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self

from ..errors import SettingsError
from ..settings import PRESETS as INSPECTION_PRESETS
from ..settings import Settings, check_kinds, unknown_settings

# What a number must be, and the settings that must.
_RANGES: list[tuple[str, Callable[[float], bool], tuple[str, ...]]] = [
    ("at least 1", lambda value: value >= 1, (
        "steps", "images_per_step", "lora_rank", "lora_alpha", "top_t", "images_per_forward",
        "images_per_rollout", "save_every",
    )),
    ("at least 2: an advantage compares candidates", lambda value: value >= 2, ("candidates",)),
    ("above 0", lambda value: 0 < value < math.inf, ("temperature", "learning_rate")),
    ("0 or more", lambda value: 0 <= value < math.inf, (
        "kl_weight", "validate_every", "validation_images", "overlays", "seed",
    )),
    ("in [0, 1)", lambda value: 0 <= value < 1, ("quantile", "validation_share")),
    ("in [0, 1]", lambda value: 0 <= value <= 1, ("delta_anomalous", "delta_normal")),
    ("above 0 and below 1", lambda value: 0 < value < 1, ("defective_share",)),
]  # fmt: skip


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """Settings of R_cons.

    The paper states the 95th percentile, its method figure shows t = 3 and δ1 between .13 and .76;
    the rest is our choice.
    """

    top_t: int = _setting(3, "Number of tokens per response whose maps R_cons compares.")
    quantile: float = _setting(
        0.95, "Quantile of a token's map above which a patch belongs to the token's support."
    )
    jaccard_of: Literal["pairs", "all"] = _setting(
        "pairs", "Jaccard index J of the supports: mean over pairs, or of all at once."
    )
    delta_anomalous: float = _setting(
        0.5, "Threshold δ1: a response to a defective image earns R_cons if J is above it."
    )
    delta_normal: float = _setting(
        0.5, "Threshold δ2: a response to a normal image earns R_cons if J is below it."
    )


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Consistency):
    """Settings of a training; the command line shows the `help` of each.

    The paper states the three rewards, 16 images per step, 8 candidates, the 95th percentile and
    LoRA on the language and merger layers. All other values are our choice.
    """

    reward: Literal["cgro", "r1"] = _setting(
        "cgro", "Rewards: cgro adds R_fmt, R_acc and R_cons; r1 leaves out R_cons."
    )
    agreement: bool = _setting(
        False, "R_fmt is 0 for a response whose reasoning claims the opposite of its answer."
    )
    steps: int = _setting(500, "Number of weight updates.")
    images_per_step: int = _setting(16, "Images per update, over all processes.")
    candidates: int = _setting(8, "Responses sampled per image.")
    temperature: float = _setting(1.0, "Sampling temperature.")
    defective_share: float | None = _setting(
        None, "Share of defective images among those drawn, between 0 and 1."
    )
    validation_share: float = _setting(
        0.1, "Share of each class kept for validation if the data has no validation split."
    )

    lora_rank: int = _setting(64, "Rank r of the LoRA adapter.")
    lora_alpha: int = _setting(
        128, "Scale of the LoRA adapter, whose output is multiplied by alpha / r."
    )
    learning_rate: float = _setting(1e-5, "Constant learning rate of AdamW.")
    kl_weight: float = _setting(
        0.04, "Weight of the KL divergence from the model before training; 0 leaves it out."
    )

    images_per_forward: int = _setting(
        1, "Images per gradient pass of a process, each with all its candidates."
    )
    images_per_rollout: int = _setting(
        16, "Images per process whose candidates are sampled together."
    )
    recompute_mlps: bool = _setting(
        True, "Run the MLPs again in the backward pass: much less memory, a little more time."
    )
    gradient_checkpointing: bool = _setting(
        False, "Run whole layers again in the backward pass: least memory, more time."
    )
    shard: bool = _setting(
        False, "Split the layers over the processes (FSDP2); sampling gathers them for a while."
    )
    features: Literal["none", "memory", "disk"] = _setting(
        "none", "Place where vision features are kept between epochs: none, memory or disk."
    )
    mixed_precision: Literal["no", "bf16"] = _setting("no", "Autocast of the passes: no or bf16.")

    validate_every: int = _setting(50, "Steps between validations; 0 validates only at the end.")
    validation_images: int = _setting(
        200, "Maximum number of validation images, half of them defective."
    )
    overlays: int = _setting(4, "Number of images drawn with their maps per validation.")
    save_every: int = _setting(10, "Steps between checkpoints.")
    seed: int = _setting(0, "Random seed of the data's order, the sampling and the adapter.")

    def __post_init__(self) -> None:
        check_kinds(self)
        for words, holds, names in _RANGES:
            for name in names:
                value = getattr(self, name)
                if value is not None and not holds(value):
                    raise SettingsError(f"{name} is {value}; it must be {words}.")

    def images_per_process(self, processes: int) -> int:
        """Return how many images of a step each process takes.

        Raises:
            SettingsError: if they do not divide evenly over processes and gradient passes.
        """
        own, left = divmod(self.images_per_step, processes)
        if left or own % self.images_per_forward:
            raise SettingsError(
                f"images_per_step is {self.images_per_step}; it must be a multiple of "
                f"images_per_forward ({self.images_per_forward}) times the {processes} processes."
            )
        return own

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        return asdict(self)

    def changed(self, values: dict[str, Any]) -> Self:
        """Return the settings with some of them replaced.

        Raises:
            SettingsError: for a name that is no setting, or a value that it cannot take.
        """
        if unknown := set(values) - {f.name for f in fields(self)}:
            raise SettingsError(unknown_settings(unknown, [f.name for f in fields(self)]))
        return replace(self, **values)


# What version 0.1 had and is gone, with its default.
_GONE = {
    "trainable": "lora",
    "schedule": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "epsilon": 0.2,
    "unbiased_kl": False,
    "iterations": 1,
    "normalization": "grpo",
    "scale_advantages": True,
    "skip_uniform_groups": False,
    "relative_supports": False,
}


def upgraded_train_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the saved settings of a training by today's names.

    A setting that is gone stays if it had another value than its default: such a training cannot
    be continued with this version. `sharing` now follows from gradient checkpointing.
    """
    sharing = "packed" if values.get("gradient_checkpointing") else "cache"
    gone = _GONE | {"sharing": sharing}
    return {name: value for name, value in values.items() if gone.get(name, ...) != value}


def upgraded_metrics(row: Mapping[str, float]) -> dict[str, float]:
    """Return a row of metrics.jsonl under today's names; version 0.1 had others."""
    return {
        name.replace("_spread", "_std").replace("uniform_groups", "zero_variance_groups"): value
        for name, value in row.items()
        if name != "learning_rate"  # constant, and in run.json
    }


@dataclass(frozen=True)
class TrainPreset:
    """A named starting point: the model and both kinds of settings.

    Attributes:
        model: folder or hub name; None is the bundled model.
        inspection: question, size of the images, maximum length of a response, and how w_r is
            computed.
        settings: of the training.
    """

    model: str | None
    inspection: Settings
    settings: TrainSettings


_PAPER = TrainSettings()
TRAIN_PRESETS = {
    "paper-7b": TrainPreset("Qwen/Qwen2.5-VL-7B-Instruct", INSPECTION_PRESETS["paper"], _PAPER),
    "paper-3b": TrainPreset("Qwen/Qwen2.5-VL-3B-Instruct", INSPECTION_PRESETS["paper"], _PAPER),
    "default-model": TrainPreset(
        None,
        replace(INSPECTION_PRESETS["default"], max_new_tokens=160),
        replace(
            _PAPER,
            steps=200,
            # At 3e-3 R1 collapses to one short response for all images, and without the KL
            # responses get shorter (docs/log.md).
            learning_rate=1e-3,
            # At 0.04, a quarter of the responses are alike after 60 steps (docs/log.md, 91).
            kl_weight=0.2,
            agreement=True,
            defective_share=0.5,
            images_per_step=8,
            images_per_forward=8,
            features="memory",
            # The median J of its responses: at 0.5, all of them would earn the same R_cons.
            delta_anomalous=0.06,
            delta_normal=0.06,
        ),
    ),
}
