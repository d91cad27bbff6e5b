"""Traces of images, by generation."""

from collections.abc import Sequence

from PIL.Image import Image

from flawsight.inspection import Trace
from flawsight.mllm import generate as generation
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import MLLM
from flawsight.mllm.patch_features import EvidenceReader
from flawsight.settings import Settings


def generate(
    mllm: MLLM,
    images: Sequence[Image],
    settings: Settings,
    reader: EvidenceReader | None = None,
    photos: Sequence[Image] = (),
) -> list[Trace]:
    prompts = encode_prompts(mllm, images, settings, photos)
    return generation.generate(mllm, prompts, settings, reader)
