"""Traces on disk: generate a response once, localize it under any number of settings."""

import hashlib
import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..inspection import Crop, PatchEvidence, Trace
from ..io.file_stamp import FileStamp
from ..io.files import slug, write_atomically
from ..mllm.load import MLLM
from ..reference.memory import Reference
from ..refine.attention_prior import AttentionPrior
from ..settings import Settings


class TraceFolder:
    """A folder of traces of one model with one choice of generation settings.

    Args:
        root: has one folder per model and choice of settings.
        mllm: the model.
        settings: only the fields of `Generation` matter.
        prior: of the model; the positions of crops depend on it.
        reference: of good photos; traces hold the distances from them.
        prompt_photos_sha256: of the photos of good parts in the prompts; None if there are none.
    """

    def __init__(
        self,
        root: Path,
        mllm: MLLM,
        settings: Settings,
        prior: AttentionPrior | None,
        reference: Reference | None = None,
        prompt_photos_sha256: str | None = None,
    ) -> None:
        prior_sha256 = prior.sha256 if prior and settings.attention_prior else None
        model = [mllm.sha256, str(mllm.model.dtype), mllm.attention, prior_sha256]
        if reference is not None:
            model.append(reference.sha256)
        if prompt_photos_sha256 is not None:
            model.append(prompt_photos_sha256)
        key = json.dumps([*model, settings.generation()])
        self.folder = root / hashlib.sha256(key.encode()).hexdigest()[:16]

    def load(self, image: str, stamp: FileStamp) -> Trace | None:
        """Return the trace of an image file; None if there is none or it is damaged."""
        return load_trace(self._file(image, stamp))

    def save(self, image: str, stamp: FileStamp, trace: Trace) -> None:
        """Write the trace of an image file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_trace(self._file(image, stamp), trace)

    def _file(self, image: str, stamp: FileStamp) -> Path:
        return self.folder / f"{slug(image)}-{stamp.bytes}-{stamp.crc32}.npz"


def save_trace(path: Path, trace: Trace) -> None:
    """Write a trace without loss."""
    content = io.BytesIO()
    parts: dict[str, Any] = {f"crop_{i}": crop.attention for i, crop in enumerate(trace.crops)}
    for index, patches in enumerate([trace.patches, *(crop.patches for crop in trace.crops)]):
        found = {f"{name}_{index}": part for name, part in vars(patches).items()}
        parts |= {name: part for name, part in found.items() if part is not None}
    np.savez_compressed(
        content,
        text=np.array(trace.text),
        token_spans=np.array(trace.token_spans, dtype=np.int64).reshape(-1, 2),
        image_attention=trace.image_attention.numpy(),
        question_attention=trace.question_attention.numpy(),
        anomaly_tokens=trace.anomaly_tokens.numpy(),
        answer_margin=np.array([trace.answer_margin, trace.answer_forced, trace.asked]),
        crop_boxes=np.array([crop.box for crop in trace.crops]).reshape(-1, 4),
        crop_scores=np.array([crop.score for crop in trace.crops]),
        **{name: part.numpy() for name, part in parts.items()},
    )
    write_atomically(path, content.getbuffer())


def load_trace(path: Path) -> Trace | None:
    """Return the trace that `save_trace` wrote; None if there is none or it is damaged."""
    try:
        with np.load(path) as arrays:

            def tensor(name: str) -> torch.Tensor:
                return torch.from_numpy(arrays[name])

            def find(name: str) -> torch.Tensor | None:
                return tensor(name) if name in arrays else None

            def patches(index: int) -> PatchEvidence:
                return PatchEvidence(
                    *(find(f"{one.name}_{index}") for one in fields(PatchEvidence))
                )

            margin, forced, asked = arrays["answer_margin"].tolist()
            boxes, scores = arrays["crop_boxes"].tolist(), arrays["crop_scores"].tolist()
            return Trace(
                text=str(arrays["text"]),
                token_spans=tuple((start, end) for start, end in arrays["token_spans"].tolist()),
                image_attention=tensor("image_attention"),
                question_attention=tensor("question_attention"),
                anomaly_tokens=tensor("anomaly_tokens"),
                answer_margin=float(margin),
                answer_forced=bool(forced),
                asked=bool(asked),
                crops=tuple(
                    Crop((x, y, w, h), tensor(f"crop_{i}"), score, patches(i + 1))
                    for i, ((x, y, w, h), score) in enumerate(zip(boxes, scores, strict=True))
                ),
                patches=patches(0),
            )
    except Exception:  # a damaged file makes NumPy raise nearly anything
        return None
