"""A look at what the base model would be rewarded for, before a step is taken."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator

from ..mllm.load import MLLM
from ..settings import Settings
from .learner import Learner
from .policy import make_trainable
from .score_rollout import Score
from .train_settings import TrainSettings
from .training_data import LabelledImage


@dataclass(frozen=True)
class Candidate:
    """One response to one image, and what it earns.

    Attributes:
        image: the file.
        label: y, True for a defective image.
        text: the response.
        kept: the tokens that R_cons compared, the heaviest first.
        score: its rewards.
    """

    image: Path
    label: bool
    text: str
    kept: tuple[str, ...]
    score: Score


def dry_run(
    mllm: MLLM,
    inspection: Settings,
    settings: TrainSettings,
    images: Sequence[LabelledImage],
    accelerator: Accelerator,
) -> list[Candidate]:
    """Sample and score candidates of a few images as the first step of a training would.

    Args:
        mllm: the base model, on the accelerator's device.
        inspection, settings: of the training.
        images: to ask about.
        accelerator: from `make_accelerator`.

    Raises:
        ModelError: if the model computes NaN.
    """
    settings = replace(settings, images_per_forward=1, features="none")
    mllm = make_trainable(mllm, settings.trainable, settings.lora_rank, settings.lora_alpha, 0)
    learner = Learner(mllm, inspection, settings, accelerator, Path())
    tokenizer = mllm.processor.tokenizer
    candidates = []
    for rollout in learner.rollouts(images, range(len(images))):
        scores = learner.try_out(rollout)
        for ids, score in zip(rollout.ids, scores, strict=True):
            candidates.append(
                Candidate(
                    image=rollout.images[0].path,
                    label=rollout.images[0].label,
                    text=tokenizer.decode(ids, skip_special_tokens=True),
                    kept=tuple(tokenizer.decode([ids[token]]).strip() for token in score.top),
                    score=score,
                )
            )
    return candidates
