"""Processors without video, which need torchvision only if a model's images need it."""

import json
from pathlib import Path
from typing import Any

from transformers import (
    PROCESSOR_MAPPING,
    AutoConfig,
    AutoTokenizer,
    Idefics3Processor,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil


class _WithoutVideo:
    """Removes the video processor, which always needs torchvision, from a processor class."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Return the names of the parts that are loaded."""
        parts: list[str] = super().get_attributes()  # type: ignore[misc]
        return [part for part in parts if part != "video_processor"]


class ImageProcessor(_WithoutVideo, Qwen2_5_VLProcessor):
    """Qwen2.5-VL's. Load it by `load_processor`: `AutoProcessor` would ask for video again."""


def load_processor(folder: Path) -> Any:
    """Load the processor of any family, with Pillow's resampling wherever the family has it.

    Raises:
        Exception: whatever transformers raises; ImportError or ValueError if the family's images
            need torchvision and it is not installed.
    """
    stock = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(folder, trust_remote_code=False))]
    if stock.__name__ == "SmolVLMProcessor":  # asks for packages that only video needs
        stock = Idefics3Processor
    processor_class: Any = type(stock.__name__, (_WithoutVideo, stock), {})
    if _named_as_in_february_2025(folder):
        return processor_class(
            image_processor=Qwen2VLImageProcessorPil.from_pretrained(folder),
            tokenizer=AutoTokenizer.from_pretrained(folder),
            chat_template=processor_class.get_processor_dict(folder)[0].get("chat_template"),
        )
    return processor_class.from_pretrained(folder, backend="pil", trust_remote_code=False)


def _named_as_in_february_2025(folder: Path) -> bool:
    """Whether the image processor is Qwen2-VL's under the first name that Qwen2.5-VL gave it."""
    path = folder / "preprocessor_config.json"
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return bool(values.get("image_processor_type") == "Qwen2_5_VLImageProcessor")
