"""A small training."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from flawsight.cgro import learner
from flawsight.cgro.score_rollout import Score
from flawsight.cgro.train_settings import TrainSettings
from flawsight.cgro.trainer import make_accelerator, train
from flawsight.cgro.training_data import TrainingData, read_training_data
from flawsight.endpoint.generator import ServedGenerator
from flawsight.mllm.load import load_mllm
from flawsight.settings import Settings

INSPECTION = Settings(image_tokens=12, max_new_tokens=8)
SETTINGS: dict[str, Any] = {
    "steps": 4,
    "images_per_step": 4,
    "images_per_forward": 1,
    "images_per_rollout": 2,
    "candidates": 3,
    "lora_rank": 4,
    "learning_rate": 1e-2,
    "kl_weight": 0.04,
    "validate_every": 2,
    "validation_images": 4,
    "save_every": 1,
    "overlays": 2,
}


# Options of a small `flawsight train`.
SMALL = (
    "--cpu", "--images-per-step", 2, "--images-per-forward", 2, "--candidates", 2,
    "--set", "max_new_tokens=40", "--set", "image_tokens=16",
)  # fmt: skip


def make_photos(folder: Path, normal: int = 6, defective: int = 5, side: int = 56) -> Path:
    rng = np.random.default_rng(0)
    for name, count in (("good", normal), ("bad", defective)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def mixed_score(text: str, label: bool) -> Score:
    """A random model never answers: let its candidates earn by the letters they chance upon."""
    letters = sum(map(ord, text))
    return Score(float(letters % 2), float(letters % 3 == label), float(letters % 5 < 2), 0.5)


def read(photos: Path) -> TrainingData:
    return read_training_data([str(photos)], [], 0.3, SETTINGS["validation_images"], 0)


def run(
    checkpoint: Path | None,
    photos: Path,
    out: Path,
    score: Callable[[str, bool], Score] = mixed_score,
    generator: ServedGenerator | None = None,
    adapter: Path | None = None,
    prompt_photos: Sequence[Image.Image] = (),
    **more: Any,
) -> tuple[list[dict[str, float]], list[tuple[int, dict[str, float]]]]:
    """Train; return the validations and the steps' metrics."""
    settings = TrainSettings(**SETTINGS | more)
    accelerator = make_accelerator(settings, out, cpu=True)
    mllm = load_mllm(checkpoint, adapter=adapter, device="cpu")
    steps: list[tuple[int, dict[str, float]]] = []
    with (
        patch.object(learner, "score_text", score),
        patch.object(learner, "score_trace", lambda trace, label, *_: score(trace.text, label)),
    ):
        validations = train(
            mllm,
            INSPECTION,
            settings,
            read(photos),
            out,
            accelerator,
            ["photos"],
            lambda step, row: steps.append((step, row)),
            generator,
            prompt_photos,
        )
    return validations, steps


def weights(out: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(out / "checkpoint.pt")["weights"]
    return state
