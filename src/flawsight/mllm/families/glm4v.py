"""GLM-4.1V, 4.5V and 4.6V: as Qwen2-VL, but for the way of counting pixels."""

from typing import Any, ClassVar

from PIL.Image import Image
from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize

from .qwen_vl import QwenVL


class GLM4V(QwenVL):
    """GLM-4.1V, GLM-4.5V and GLM-4.6V. Their sizes count an image as a video of two frames."""

    name = "GLM-4.1V, GLM-4.5V, GLM-4.6V"
    model_types: ClassVar[tuple[str, ...]] = ("glm4v", "glm4v_moe", "glm46v")

    def pixels(self, processor: Any, tokens: int) -> int:
        """Return the pixels of some tokens in all frames."""
        frames: int = processor.image_processor.temporal_patch_size
        return frames * super().pixels(processor, tokens)

    def scaled(self, processor: Any, image: Image, shortest: int, longest: int) -> tuple[int, int]:
        """Return the (height, width) that the processor scales an image to."""
        frames = processor.image_processor.temporal_patch_size
        height, width = smart_resize(
            frames, image.height, image.width, frames, self.token_side(processor), shortest, longest
        )
        return height, width
