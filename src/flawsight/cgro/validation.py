"""Validation: image AUROC and balanced accuracy of the policy on images kept from training."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL.Image import Image

from ..errors import RunFolderError
from ..inspection import Inspection, Trace
from ..inspector import Inspector
from ..io.files import slug, write_atomically, writing_to
from ..io.images import read_image
from ..io.overlay import draw_overlay
from ..metrics.bootstrap import interval
from ..metrics.ranking import auroc, counts_of
from .best_step import Outcome, auroc_draws, ranked
from .policy import merged
from .rewards import format_reward
from .training_data import LabelledImage

_FOLDER = "validations"


def validate(
    inspector: Inspector,
    images: Sequence[LabelledImage],
    accelerator: Accelerator,
    overlays: int,
    folder: Path,
) -> list[Outcome]:
    """Inspect the images with greedy decoding, as `flawsight inspect` does.

    Each process takes its share of the images. The first `overlays` of them, defective and normal
    ones in turn, are drawn with their maps into `folder`. Returns the outcomes of all, by image.

    Raises:
        ModelError: if the model computes NaN.
        RunFolderError: if an overlay cannot be written.
    """
    defective = [image for image in images if image.label]
    normal = [image for image in images if not image.label]
    in_turn = [i.path for pair in zip(defective, normal, strict=False) for i in pair]
    drawn = set(in_turn[:overlays])
    own = images[accelerator.process_index :: accelerator.num_processes]
    outcomes: list[Outcome] = []
    depth = inspector.settings.bit_depth
    inspector.mllm.model.eval()
    with merged(inspector.mllm.model):
        for start in range(0, len(own), inspector.batch_size):
            batch = own[start : start + inspector.batch_size]
            traced = inspector.trace(inspector.prepare([image.path for image in batch]))
            texts = iter(traced.traces)
            for image, (photo, one) in zip(batch, inspector.localize(traced), strict=True):
                trace = None if photo is None else next(texts)
                text = trace.text if isinstance(trace, Trace) else ""
                outcome = Outcome(image.label, None, False, False, str(image.path), text)
                if isinstance(one, Inspection):
                    contradicts = "answer/reasoning" in one.disagreements
                    outcome = Outcome(
                        image.label, one.pred_score, bool(one.pred_label), contradicts,
                        str(image.path), text,
                    )  # fmt: skip
                    if image.path in drawn:
                        _draw(read_image(image.path, depth), image.path, one, folder)
                outcomes.append(outcome)
    place = {str(image.path): index for index, image in enumerate(images)}
    return sorted(gather_object(outcomes), key=lambda outcome: place[outcome.image])


def _draw(photo: Image, path: Path, inspection: Inspection, folder: Path) -> None:
    png = io.BytesIO()
    draw_overlay(photo, inspection.anomaly_map).save(png, "PNG")
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{slug(str(path))}.png", png.getbuffer())


def validation_metrics(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Compute the metrics; an image without an answer is wrong, and ranks at the wrong end.

    Returns:
        "image_auroc", with the ends "image_auroc_low" and "image_auroc_high" of its 95 % interval
        over resamples of the images, "balanced_accuracy", and the shares "answered", "format"
        (R_fmt), "distinct" (of the responses) and "contradictions".
    """
    labels, scores = ranked(outcomes)
    right = np.array([s is not None and bool(p) == bool(y) for y, s, p, *_ in outcomes])
    low, high = interval(auroc_draws(outcomes))
    return {
        "image_auroc": float(auroc(counts_of(labels, scores))),
        "image_auroc_low": low,
        "image_auroc_high": high,
        "balanced_accuracy": float(np.mean([right[labels == y].mean() for y in (False, True)])),
        "answered": float(np.mean([one.score is not None for one in outcomes])),
        "format": float(np.mean([format_reward(one.text) for one in outcomes])),
        "distinct": len({one.text for one in outcomes}) / len(outcomes),
        "contradictions": float(np.mean([one.contradicts for one in outcomes])),
    }


def write_outcomes(folder: Path, step: int, outcomes: Sequence[Outcome]) -> None:
    """Write the responses and scores of a validation, one JSON object per image.

    Raises:
        RunFolderError: if the folder cannot be written.
    """
    lines = "".join(json.dumps(one._asdict()) + "\n" for one in outcomes)
    with writing_to(folder):
        (folder / _FOLDER).mkdir(exist_ok=True)
        write_atomically(_file(folder, step), lines.encode())


def read_outcomes(folder: Path, step: int) -> list[Outcome]:
    """Return what `write_outcomes` wrote; [] for a validation of before it was written.

    Raises:
        RunFolderError: if the file is damaged.
    """
    path = _file(folder, step)
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Outcome(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); restore it or remove it.") from error


def _file(folder: Path, step: int) -> Path:
    return folder / _FOLDER / f"step-{step:06d}.jsonl"
