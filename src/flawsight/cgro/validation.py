"""Validation: image AUROC and balanced accuracy of the policy on images kept from training."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL.Image import Image

from ..inspection import Inspection
from ..inspector import Inspector
from ..io.files import slug, write_atomically, writing_to
from ..io.images import read_image
from ..io.overlay import draw_overlay
from ..metrics.ranking import auroc, counts_of
from .policy import merged
from .training_data import LabelledImage

Outcome = tuple[bool, float | None, bool, bool]


def validate(
    inspector: Inspector,
    images: Sequence[LabelledImage],
    accelerator: Accelerator,
    overlays: int,
    folder: Path,
) -> dict[str, float]:
    """Inspect the images with greedy decoding, as `flawsight inspect` does.

    Each process takes its share of the images. The first `overlays` of them, defective and normal
    ones in turn, are drawn with their maps into `folder`. Returns `validation_metrics`.

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
            found = inspector.inspect_batch([image.path for image in batch])
            for image, one in zip(batch, found, strict=True):
                outcome: Outcome = (image.label, None, False, False)
                if isinstance(one, Inspection):
                    contradicts = "answer/reasoning" in one.disagreements
                    outcome = (image.label, one.pred_score, one.pred_label, contradicts)
                    if image.path in drawn:
                        _draw(read_image(image.path, depth), image.path, one, folder)
                outcomes.append(outcome)
    return validation_metrics(gather_object(outcomes))


def _draw(photo: Image, path: Path, inspection: Inspection, folder: Path) -> None:
    png = io.BytesIO()
    draw_overlay(photo, inspection.anomaly_map).save(png, "PNG")
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{slug(str(path))}.png", png.getbuffer())


def validation_metrics(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Compute the metrics; an image without an answer is wrong, and ranks at the wrong end.

    Args:
        outcomes: (y, pred_score or None, pred_label, whether the reasoning contradicts the
            answer) of each image.

    Returns:
        "image_auroc", "balanced_accuracy", and the shares "answered" and "contradictions".
    """
    labels = np.array([label for label, _, _, _ in outcomes])
    scores = [(-1.0 if y else 2.0) if s is None else s for y, s, _, _ in outcomes]
    right = np.array([s is not None and bool(p) == bool(y) for y, s, p, _ in outcomes])
    return {
        "image_auroc": float(auroc(counts_of(labels, scores))),
        "balanced_accuracy": float(np.mean([right[labels == y].mean() for y in (False, True)])),
        "answered": float(np.mean([s is not None for _, s, _, _ in outcomes])),
        "contradictions": float(np.mean([c for _, _, _, c in outcomes])),
    }
