"""The vision encoder alone, for what needs no words."""

from inspect import signature
from typing import Any

import torch

from ..inspection import PatchEvidence, Trace
from .encode import PromptBatch
from .load import MLLM
from .patch_features import EvidenceReader, PatchReader, Read, read_patches


@torch.inference_mode()
def read_images(mllm: MLLM, prompts: PromptBatch, reader: PatchReader[Read]) -> list[Read]:
    """Run the vision encoder on the images of prompts, and read their patch features.

    Args:
        mllm: the model.
        prompts: of `encode_prompts`.
        reader: what is read.

    Raises:
        ModelError: as `read_patches`.
    """
    with (
        mllm.lock,
        read_patches(mllm.model, reader, prompts.grids, prompts.photo_grids) as found,
    ):
        encode: Any = mllm.model.get_image_features
        taken = signature(encode).parameters.keys() & prompts.inputs.keys()
        encode(**{name: prompts.inputs[name] for name in taken})
    return found


def look(mllm: MLLM, prompts: PromptBatch, reader: EvidenceReader) -> list[Trace]:
    """Return the traces of images that the model is not asked about; see `read_images`."""
    found = read_images(mllm, prompts, reader)
    return [unasked(prompts, index, patches) for index, patches in enumerate(found)]


def unasked(prompts: PromptBatch, index: int, patches: PatchEvidence) -> Trace:
    """Return the trace of the `index`-th image of prompts, without a response."""
    grid = prompts.grids[index]
    return Trace(
        text="",
        token_spans=(),
        image_attention=grid.to_map(torch.zeros(0, grid.tokens)),
        question_attention=torch.zeros(0, len(prompts.anomaly_tokens)),
        anomaly_tokens=prompts.anomaly_tokens,
        answer_margin=0.0,
        asked=False,
        patches=patches,
    )
