"""Gemma 3: every image becomes a square of one size, whatever its aspect."""

import math
from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from ...settings import Settings
from ..token_grid import TokenGrid, tiled_grid
from .family import Family, patches_of_a_tile


class Gemma3(Family):
    """Gemma 3 with vision. `image_tokens` has no effect: an image has 256 tokens."""

    name = "Gemma 3"
    model_types = ("gemma3",)

    def options(self, processor: Any, settings: Settings) -> dict[str, Any]:
        """Keep the image whole: its crops ("pan and scan") are not read."""
        return {"do_pan_and_scan": False}

    def grids(
        self, processor: Any, batch: Any, images: Sequence[Image], settings: Settings
    ) -> list[TokenGrid]:
        """Return the square of tokens that covers each image."""
        return [tiled_grid(math.isqrt(processor.image_seq_length))] * len(images)

    def most(self, processor: Any, vision: Any, settings: Settings) -> tuple[int, int]:
        """Return the tokens and patches of every image."""
        return processor.image_seq_length, patches_of_a_tile(vision)
