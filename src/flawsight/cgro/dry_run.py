"""Candidates of the model and their rewards, before any training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from PIL.Image import Image

from ..mllm.load import MLLM
from ..settings import Settings
from .learner import Learner
from .policy import make_trainable
from .score_rollout import Score
from .train_settings import TrainSettings
from .training_data import LabelledImage


@dataclass(frozen=True)
class Candidate:
    """One response to one image, the tokens that R_cons compares by falling w_r, and rewards."""

    image: Path
    label: bool
    text: str
    compared: tuple[str, ...]
    score: Score


def dry_run(
    mllm: MLLM,
    inspection: Settings,
    settings: TrainSettings,
    images: Sequence[LabelledImage],
    accelerator: Accelerator,
    photos: Sequence[Image] = (),
) -> list[Candidate]:
    """Sample and score candidates of a few images as the first step of `train` would.

    `photos` of good parts are in the prompt before each image.

    Raises:
        ModelError: if the model computes NaN.
    """
    settings = replace(settings, images_per_forward=1, features="none")
    mllm = make_trainable(mllm, settings.lora_rank, settings.lora_alpha, seed=0)
    learner = Learner(mllm, inspection, settings, accelerator, Path(), photos=photos)
    tokenizer = mllm.processor.tokenizer
    candidates = []
    for rollout in learner.rollouts(images, range(len(images))):
        scores = learner.score_only(rollout)
        candidates += [
            Candidate(
                image=rollout.images[0].path,
                label=rollout.images[0].label,
                text=tokenizer.decode(ids, skip_special_tokens=True),
                compared=tuple(tokenizer.decode([ids[token]]).strip() for token in score.top),
                score=score,
            )
            for ids, score in zip(rollout.ids, scores, strict=True)
        ]
    return candidates
