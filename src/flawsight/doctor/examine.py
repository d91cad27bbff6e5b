"""All checks, one after the other. None stops those after it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from flawsight_surfaces import TEST_FAMILIES, render_pair

from ..errors import FlawsightError
from ..inspector import Inspector
from ..io.images import read_image
from .attention import eager_attention, generation_and_replay
from .case import Case
from .finding import Finding
from .photos import agreement, answers, sinks, token_selection
from .probability import answer_probability
from .resources import memory, speed
from .tokens import answer_tokens, image_tokens, question_tokens

T = TypeVar("T")

CHECKS: dict[str, Callable[[Case], Finding]] = {
    "answer tokens": answer_tokens,
    "image tokens": image_tokens,
    "question tokens": question_tokens,
    "eager attention": eager_attention,
    "replay": generation_and_replay,
    "P(Yes)": answer_probability,
    "answers": answers,
    "token selection": token_selection,
    "agreement J": agreement,
    "sinks": sinks,
    "speed": speed,
    "memory": memory,
}


def examine(inspector: Inspector, photos: Sequence[Path], train: bool = False) -> Iterator[Finding]:
    """Check a model on some photos, and yield what each check found.

    Args:
        inspector: has the model and the settings.
        photos: image files.
        train: check one step of CGRO, too. It leaves its adapter on the model.

    Raises:
        ImageError: if a photo cannot be read.
    """
    depth = inspector.settings.bit_depth
    case = Case(inspector, photos, [read_image(photo, depth) for photo in photos])
    with suppress(Exception):  # its checks will say so
        _ = case.traced  # first: later the process would use memory again that it has freed
    for name, check in CHECKS.items():
        yield _attempt(name, check, case)
    if train:
        from . import training

        try:
            step = training.one_step(case)
        except Exception as error:
            yield _failed("training step", error)
        else:
            for name, judge in training.CHECKS.items():
                yield _attempt(name, judge, step)


def _attempt(name: str, check: Callable[[T], Finding], subject: T) -> Finding:
    try:
        return check(subject)
    except Exception as error:  # of transformers, of the model's own code
        return _failed(name, error)


def _failed(name: str, error: Exception) -> Finding:
    kind = "" if isinstance(error, FlawsightError) else f"{type(error).__name__}: "
    return Finding(name, False, f"{kind}{' '.join(str(error).split())}"[:400])


def render_photos(folder: Path, pairs: int = 4) -> list[Path]:
    """Write pairs of a good and a defective surface into a folder, always the same."""
    paths = []
    for family in list(TEST_FAMILIES)[:pairs]:
        for sample in render_pair(np.random.default_rng(0), (480, 480), family=family):
            path = folder / f"{family}-{sample.defect or 'good'}.png".replace(" ", "-")
            Image.fromarray(sample.image).save(path)
            paths.append(path)
    return paths
