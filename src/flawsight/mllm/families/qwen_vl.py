"""Qwen2-VL and its successors: images keep their aspect, and the tokens are one grid."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from PIL.Image import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from ...settings import Settings
from ..token_grid import TokenGrid
from .family import Family


class QwenVL(Family):
    """Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5."""

    name = "Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5"
    model_types: ClassVar[tuple[str, ...]] = (
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3_vl",
        "qwen3_vl_moe",
        "qwen3_5",
        "qwen3_5_moe",
    )

    def options(self, processor: Any, settings: Settings) -> dict[str, Any]:
        """Give the processor the pixels of `image_tokens`."""
        if settings.tokens_per_image is None:
            return {}
        pixels = self.pixels(processor, settings.tokens_per_image)
        return {"size": {"shortest_edge": pixels, "longest_edge": pixels}}

    def grids(
        self, processor: Any, batch: Any, images: Sequence[Image], settings: Settings
    ) -> list[TokenGrid]:
        """Divide the encoder's grid of patches by those that are merged into a token."""
        merge = processor.image_processor.merge_size
        return [TokenGrid((h // merge, w // merge)) for _, h, w in batch["image_grid_thw"].tolist()]

    def most(self, processor: Any, vision: Any, settings: Settings) -> tuple[int, int]:
        """Return `image_tokens`, or the most that the checkpoint allows, and their patches."""
        stock = processor.image_processor
        most = stock.size["longest_edge"] // self.pixels(processor, 1)
        tokens = settings.tokens_per_image or most
        return tokens, tokens * stock.merge_size**2

    def as_seen(self, processor: Any, image: Image, settings: Settings) -> Image:
        """Return the image at the size of `image_tokens`, if the server would choose another."""
        if settings.tokens_per_image is None:
            return image
        seen = self.at_its_size(processor, image, settings)
        image = self.fitted(processor, image, settings)
        stock = processor.image_processor.size
        chosen = self.scaled(processor, image, stock["shortest_edge"], stock["longest_edge"])
        return image if (seen.height, seen.width) == chosen else seen

    def at_its_size(self, processor: Any, image: Image, settings: Settings) -> Image:
        """Return the image at the size of `image_tokens`, or of the checkpoint without."""
        image = self.fitted(processor, image, settings)
        size = self.options(processor, settings).get("size") or processor.image_processor.size
        height, width = self.scaled(processor, image, size["shortest_edge"], size["longest_edge"])
        return image.resize((width, height), processor.image_processor.resample)

    def unscaled(self, processor: Any, image: Image, settings: Settings) -> Settings:
        """Return the settings with the size of the image as `image_grid`."""
        side = self.token_side(processor)
        return replace(settings, image_grid=(image.height // side, image.width // side))

    def token_side(self, processor: Any) -> int:
        """Return the height and width of an image token in pixels."""
        side: int = processor.image_processor.patch_size * processor.image_processor.merge_size
        return side

    def pixels(self, processor: Any, tokens: int) -> int:
        """Return the pixels of some tokens, as the processor counts them."""
        return tokens * self.token_side(processor) ** 2

    def scaled(self, processor: Any, image: Image, shortest: int, longest: int) -> tuple[int, int]:
        """Return the (height, width) that the processor scales an image to."""
        side = self.token_side(processor)
        height, width = smart_resize(image.height, image.width, side, shortest, longest)
        return height, width
