"""Every choice of a training, as one frozen object, saved with the run."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from ..errors import MissingExtraError, SettingsError
from ..settings import PRESETS as INSPECTION_PRESETS
from ..settings import Settings, check_kinds


def _is(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of a training. [paper] is stated by the paper; all else is our choice.

    What each means is said in its `help`, which the command line shows.
    """

    reward: Literal["cgro", "r1"] = _is(
        "cgro", "cgro adds R_cons to the rewards of r1, R_fmt and R_acc [paper]."
    )
    steps: int = _is(500, "Updates of the weights.")
    images_per_step: int = _is(16, "Images of an update, in all processes [paper: 16].")
    candidates: int = _is(8, "Responses sampled of each image [paper: 8].")
    temperature: float = _is(1.0, "Of sampling.")
    defective_share: float | None = _is(
        None, "Share of defective images drawn, like 0.5; default: that of the data."
    )
    validation_share: float = _is(
        0.1, "Share of each class kept for validation where the data has no validation split."
    )

    trainable: Literal["lora", "full"] = _is(
        "lora", "lora: an adapter on language and merger layers [paper]; full: these themselves."
    )
    lora_rank: int = _is(64, "r of LoRA.")
    lora_alpha: int = _is(128, "LoRA's output is scaled by alpha / r.")
    learning_rate: float = _is(1e-5, "Of AdamW.")
    schedule: Literal["constant", "linear", "cosine"] = _is(
        "constant", "How the rate falls to 0 after the warm-up."
    )
    warmup_steps: int = _is(0, "Steps in which the rate rises from 0.")
    weight_decay: float = _is(0.0, "Of AdamW.")
    max_grad_norm: float = _is(1.0, "Longer gradients are shortened to this norm.")

    kl_weight: float = _is(0.04, "Of the KL to the model before training; 0 leaves it out.")
    unbiased_kl: bool = _is(False, "Multiply the KL by the probability ratio, as TRL does.")
    epsilon: float = _is(0.2, "The probability ratio is clipped to 1 ± epsilon.")
    iterations: int = _is(1, "Updates of the weights with the same candidates.")
    normalization: Literal["grpo", "dr_grpo", "dapo"] = _is(
        "grpo", "What a token's loss is divided by: grpo, dr_grpo or dapo."
    )
    scale_advantages: bool = _is(True, "Divide advantages by their group's deviation.")
    skip_uniform_groups: bool = _is(
        False, "Leave images out whose candidates all earn the same; else they add their KL."
    )

    top_t: int = _is(3, "t, the tokens of a response that R_cons compares.")
    quantile: float = _is(0.95, "A token's support is what lies above it in its map [paper].")
    jaccard_of: Literal["pairs", "all"] = _is(
        "pairs", "J of t supports: mean over pairs, or of all at once."
    )
    delta_anomalous: float = _is(0.5, "δ1: a defective image earns R_cons if J is above it.")
    delta_normal: float = _is(0.5, "δ2: a normal image earns R_cons if J is below it.")

    images_per_forward: int = _is(1, "Images, with all their candidates, in a gradient pass.")
    images_per_rollout: int = _is(16, "Images whose candidates are sampled together.")
    sharing: Literal["cache", "packed", "repeated"] = _is(
        "cache", "How candidates share their prompt: cache, packed (one row), repeated (not)."
    )
    recompute_mlps: bool = _is(
        True, "Run the MLPs again in the backward pass: much less memory, a little more time."
    )
    gradient_checkpointing: bool = _is(
        False, "Run whole layers again: least memory, more time; needs sharing packed."
    )
    shard: bool = _is(
        False, "Spread the layers over the processes (FSDP); sampling gathers them for a while."
    )
    features: Literal["none", "memory", "disk"] = _is(
        "none", "Where each image's vision features are kept from one epoch to the next."
    )
    mixed_precision: Literal["no", "bf16"] = _is("no", "Autocast of the passes.")

    validate_every: int = _is(50, "Steps from one validation to the next; 0: only at the end.")
    validation_images: int = _is(200, "Most validation images, half of them defective.")
    overlays: int = _is(4, "Validation images drawn with their maps, before and after.")
    save_every: int = _is(10, "Steps from one checkpoint to the next.")
    seed: int = _is(0, "Of the data's order, the sampling and the adapter's first weights.")

    def __post_init__(self) -> None:
        check_kinds(self)
        at_least_1 = (
            "steps", "images_per_step", "lora_rank", "lora_alpha", "iterations", "top_t",
            "images_per_forward", "images_per_rollout", "save_every",
        )  # fmt: skip
        for name in at_least_1:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.candidates < 2:
            raise SettingsError(
                f"candidates is {self.candidates}; an advantage needs 2 or more to compare."
            )
        for name in ("temperature", "learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be above 0.")
        for name in (
            "warmup_steps", "weight_decay", "kl_weight", "epsilon", "validate_every",
            "validation_images", "overlays", "seed",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must not be negative.")
        for name in ("quantile", "validation_share"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be in [0, 1).")
        for name in ("delta_anomalous", "delta_normal"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be in [0, 1].")
        if self.defective_share is not None and not 0 < self.defective_share < 1:
            raise SettingsError("defective_share must be above 0 and below 1.")
        if self.shard and self.trainable == "full":
            raise SettingsError("shard spreads frozen layers with an adapter: use trainable lora.")
        if self.gradient_checkpointing and self.sharing == "cache":
            raise SettingsError(
                "Gradient checkpointing would drop the prompt's cache: set sharing to packed."
            )

    def images_per_process(self, processes: int) -> int:
        """Return how many images of a step are each process'.

        Raises:
            SettingsError: if they cannot be shared out evenly over processes and gradient passes.
        """
        own, left = divmod(self.images_per_step, processes)
        if left or own % self.images_per_forward:
            raise SettingsError(
                f"images_per_step is {self.images_per_step}; it must be a multiple of "
                f"images_per_forward ({self.images_per_forward}) times the {processes} processes."
            )
        return own

    def learning_rate_at(self, step: int) -> float:
        """Return the rate of update `step`, the first being 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        falling = {
            "constant": 1.0,
            "linear": 1 - share,
            "cosine": 0.5 * (1 + math.cos(math.pi * share)),
        }
        return self.learning_rate * falling[self.schedule]

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        return asdict(self)

    def changed(self, values: dict[str, Any]) -> Self:
        """Return the settings with some of them replaced.

        Raises:
            SettingsError: for a name that is no setting, or a value that it cannot take.
        """
        if unknown := set(values) - {f.name for f in fields(self)}:
            raise SettingsError(f"Unknown settings: {', '.join(sorted(unknown))}.")
        return replace(self, **values)


@dataclass(frozen=True)
class TrainPreset:
    """A named beginning: the model, how it is inspected while it trains, and the settings.

    Attributes:
        model: folder or hub name; None is the bundled model.
        inspection: question, size of the images, length of a response, and how w_r is made.
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
            # At 3e-3 R1 fell into one short text for all images, and without the KL texts shrink;
            # the same LoRA learns a line from targets at 1e-3 (docs/log.md).
            learning_rate=1e-3,
            defective_share=0.5,
            images_per_step=8,
            images_per_forward=8,
            features="memory",
            # The median J of its responses: at 0.5, R_cons would tell no two of them apart.
            delta_anomalous=0.06,
            delta_normal=0.06,
        ),
    ),
}


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings by name, and "inspection" with those of `Settings`.

    Raises:
        SettingsError: if it is not such a file.
        MissingExtraError: if PyYAML is missing.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("PyYAML", "train") from error
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"Cannot read the settings in {path}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not isinstance(values.get("inspection", {}), dict):
        raise SettingsError(f"{path} must hold NAME: VALUE lines, like candidates: 8.")
    # YAML takes 1e-5, without a point, for a word.
    for setting in fields(TrainSettings):
        value = values.get(setting.name)
        if isinstance(value, str) and "float" in str(setting.type):
            try:
                values[setting.name] = float(value)
            except ValueError:
                raise SettingsError(f"{setting.name} in {path} is {value!r}, no number.") from None
    return values
