"""Processors without video, which need torchvision only if a model's images need it."""

from pathlib import Path
from typing import Any

from transformers import PROCESSOR_MAPPING, AutoConfig, Qwen2_5_VLProcessor


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
    stock = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(folder))]
    processor_class: Any = type(stock.__name__, (_WithoutVideo, stock), {})
    return processor_class.from_pretrained(folder, backend="pil")
