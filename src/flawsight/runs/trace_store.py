"""Traces on disk: a response is generated once and read under any number of settings."""

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import FlawsightError
from ..inspection import Glance, Trace
from ..io.files import slug, write_atomically
from ..io.images import read_image
from ..mllm.load import MLLM
from ..refine.crops import look
from ..settings import Settings

# The settings that change what the model says or which of its attention is kept.
GENERATION = (
    "question", "image_tokens", "max_new_tokens", "temperature", "seed", "layers", "heads", "crops",
    "crop_share", "crop_token_share", "reask", "rarity",
)  # fmt: skip


def trace_folder(root: Path, mllm: MLLM, settings: Settings) -> Path:
    """Return the folder below `root` for the traces of this model under these settings."""
    values = settings.to_json()
    key = json.dumps(
        [mllm.sha256, str(mllm.model.dtype), mllm.attention, [values[n] for n in GENERATION]]
    )
    return root / hashlib.sha256(key.encode()).hexdigest()[:16]


def traced(
    mllm: MLLM, images: Sequence[Path], settings: Settings, folder: Path
) -> list[tuple[Trace, tuple[int, int]] | FlawsightError]:
    """Return the trace and the (height, width) of each image, or the error in its place.

    What `folder` holds is read; the rest is generated in one batch and kept there.

    Raises:
        ModelError: if the model is at fault.
    """
    found: dict[int, tuple[Trace, tuple[int, int]] | FlawsightError] = {}
    opened = {}
    for index, path in enumerate(images):
        try:
            stored = load_trace(folder / f"{slug(str(path))}.npz")
            if stored is not None:
                found[index] = stored
            else:
                opened[index] = read_image(path)
        except FlawsightError as error:
            found[index] = error
    if opened:
        folder.mkdir(parents=True, exist_ok=True)
        traces = look(mllm, list(opened.values()), settings)
        for (index, image), trace in zip(opened.items(), traces, strict=True):
            size = (image.height, image.width)
            save_trace(folder / f"{slug(str(images[index]))}.npz", trace, size)
            found[index] = trace, size
    return [found[index] for index in range(len(images))]


def save_trace(path: Path, trace: Trace, image_size: tuple[int, int]) -> None:
    """Write a trace, exactly."""
    content = io.BytesIO()
    glances: dict[str, Any] = {
        f"glance_{i}": glance.attention.numpy() for i, glance in enumerate(trace.glances)
    }
    rarities = [trace.rarity, *(glance.rarity for glance in trace.glances)]
    rare: dict[str, Any] = {
        f"rarity_{i}": rarity.numpy() for i, rarity in enumerate(rarities) if rarity is not None
    }
    np.savez_compressed(
        content,
        text=np.array(trace.text),
        token_spans=np.array(trace.token_spans, dtype=np.int64).reshape(-1, 2),
        image_attention=trace.image_attention.numpy(),
        question_attention=trace.question_attention.numpy(),
        anomaly_tokens=trace.anomaly_tokens.numpy(),
        answer_margins=trace.answer_margins.numpy(),
        image_size=np.array(image_size),
        glance_boxes=np.array([glance.box for glance in trace.glances]).reshape(-1, 4),
        glance_scores=np.array([glance.score for glance in trace.glances]),
        **glances,
        **rare,
    )
    write_atomically(path, content.getbuffer())


def load_trace(path: Path) -> tuple[Trace, tuple[int, int]] | None:
    """Return the trace and (height, width) that `save_trace` wrote; None if there is none."""
    try:
        with np.load(path) as arrays:
            height, width = arrays["image_size"].tolist()

            def rarity(seen: int) -> torch.Tensor | None:
                name = f"rarity_{seen}"
                return torch.from_numpy(arrays[name]) if name in arrays else None

            trace = Trace(
                text=str(arrays["text"]),
                token_spans=tuple((start, end) for start, end in arrays["token_spans"].tolist()),
                image_attention=torch.from_numpy(arrays["image_attention"]),
                question_attention=torch.from_numpy(arrays["question_attention"]),
                anomaly_tokens=torch.from_numpy(arrays["anomaly_tokens"]),
                answer_margins=torch.from_numpy(arrays["answer_margins"]),
                glances=tuple(
                    Glance(
                        (left, top, w, h),
                        torch.from_numpy(arrays[f"glance_{i}"]),
                        score,
                        rarity(i + 1),
                    )
                    for i, ((left, top, w, h), score) in enumerate(
                        zip(
                            arrays["glance_boxes"].tolist(),
                            arrays["glance_scores"].tolist(),
                            strict=True,
                        )
                    )
                ),
                rarity=rarity(0),
            )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # damaged: as good as none
        return None
    return trace, (height, width)
