"""The Qwen2.5-VL processor for images alone: works with and without torchvision."""

from typing import Any

from transformers import Qwen2_5_VLProcessor


class ImageProcessor(Qwen2_5_VLProcessor):
    """`Qwen2_5_VLProcessor` without its video processor, the one part that needs torchvision.

    Load it by this class: `AutoProcessor` would ask for the video processor again.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **kwargs)
