"""One step of CGRO: does it train the policy that inspects, and nothing of the vision encoder?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ..cgro.learner import Learner
from ..cgro.policy import make_trainable
from ..cgro.rollouts import Rollout
from ..cgro.score_rollout import Score
from ..cgro.train_settings import TrainSettings
from ..cgro.trainer import make_accelerator
from ..cgro.training_data import LabelledImage
from ..mllm.adapter import core
from .case import Case
from .eager import eager_forward
from .finding import TOLERANCES, Finding

CANDIDATES = 4
MOST_KL = 1e-4


@dataclass(frozen=True)
class Step:
    """One step on two photos, the first called normal and the second defective.

    Attributes:
        scores: of the candidates.
        gradient_norm: before it is clipped.
        kl: of the policy from the model before training, at the first step.
        vision: names of the weights of the vision encoder that would train, but for its merger.
        gap: mean over the first candidate's tokens of the difference of their log-probability from
            that in eager attention, in nats.
        tolerance: of this mean; single tokens differ more.
    """

    scores: list[Score]
    gradient_norm: float
    kl: float
    vision: list[str]
    gap: float
    tolerance: float


class _Learner(Learner):
    """Its candidates earn 0 and 1 in turn: with equal rewards there would be no gradient."""

    def scores(self, rollout: Rollout, rows: Tensor | None) -> list[Score]:
        self.real = super().scores(rollout, rows)
        return [replace(s, accuracy=float(i % 2)) for i, s in enumerate(self.real)]


def one_step(case: Case) -> Step:
    """Train the model for one step; it keeps the adapter."""
    labelled = [
        LabelledImage(path, bool(label))
        for label, path in enumerate([*case.paths, *case.paths][:2])
    ]
    settings = TrainSettings(images_per_step=2, images_per_forward=2, candidates=CANDIDATES)
    accelerator = make_accelerator(settings, Path(), cpu=case.mllm.device.type == "cpu")
    mllm = make_trainable(case.mllm, settings.lora_rank, settings.lora_alpha, settings.seed)
    learner = _Learner(
        mllm, case.settings, settings, accelerator, Path(), photos=case.inspector.prompt_photos
    )
    rollouts = learner.rollouts(labelled, range(2))
    ids = rollouts[0].ids[0]
    mllm.model.eval()
    with torch.no_grad():
        own = learner.forward(rollouts[0].prompts, rollouts[0].completions)[0][0, : len(ids)]
    logits, _ = eager_forward(mllm, case.prompts.inputs, ids)
    wanted = logits.log_softmax(dim=-1)[torch.arange(len(ids)), ids]
    vision: list[str] = []

    def see(*_: Any) -> None:
        encoder = core(mllm.model).get_encoder(modality="image")
        for name, weight in encoder.named_parameters():
            has_gradient = weight.grad is not None and bool(weight.grad.any())
            if (has_gradient or weight.requires_grad) and not name.startswith("merger."):
                vision.append(name)

    hook = register_optimizer_step_pre_hook(see)
    try:
        table, norm = learner.update(rollouts)
    finally:
        hook.remove()
        mllm.model.eval()
    kl = table.metrics(accelerator)["kl"]
    gap = float((own - wanted).abs().mean())
    return Step(learner.real, norm, kl, vision, gap, TOLERANCES[mllm.model.dtype].nats / 5)


def training_step(step: Step) -> Finding:
    """The step has a finite gradient that is not 0."""
    rewards = [score.total for score in step.scores]
    values = {"gradient_norm": step.gradient_norm, "rewards": rewards}
    ok = math.isfinite(step.gradient_norm) and step.gradient_norm > 0
    message = f"gradient norm {step.gradient_norm:.3g} of {len(rewards)} candidates"
    if not ok:
        message += ": nothing is learned. Try --dtype float32"
    return Finding("training step", ok, message, values)


def vision_gradients(step: Step) -> Finding:
    """The gradient of the vision encoder is 0; its merger may have one."""
    message, names = "the vision encoder is frozen; language and merger layers train", step.vision
    if names:
        message = f"{len(names)} weights of the vision encoder would train, like {names[0]}: the "
        message += "paper freezes it, and kept features would be wrong. Report this"
    return Finding("vision gradients", not names, message, {"trained": names})


def first_kl(step: Step) -> Finding:
    """Before the first update, the policy is the model it starts from."""
    kl = step.kl
    ok = abs(kl) <= MOST_KL
    message = f"KL before the first update is {kl:.2g} (at most {MOST_KL:g})"
    if not ok:
        message += (
            ": the policy does not start from the model. Try --dtype float32, and report this"
        )
    return Finding("first KL", ok, message, {"kl": kl})


def policy(step: Step) -> Finding:
    """The tokens of a candidate are as probable in training as in eager attention."""
    gap, tolerance = step.gap, step.tolerance
    message = f"log-probabilities in training are off by {gap:.2g} (tolerance {tolerance:g})"
    if not gap <= tolerance:
        message += ": another model is trained than inspects. Do not train this family"
    return Finding("policy", gap <= tolerance, message, {"gap": gap, "tolerance": tolerance})


CHECKS: dict[str, Callable[[Step], Finding]] = {
    "training step": training_step,
    "policy": policy,
    "first KL": first_kl,
    "vision gradients": vision_gradients,
}
