"""Idefics3 and SmolVLM: rows of square tiles, then the whole image as a thumbnail."""

import math
from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from ...settings import Settings
from ..token_grid import TokenGrid, tiled_grid
from .family import Family, nearest, patches_of_a_tile


class Idefics3(Family):
    """Idefics3 and SmolVLM. The longer edge of an image has 1, 2, … tiles.

    `image_tokens` chooses how many: those with which a square image has about as many tokens.
    """

    name = "Idefics3, SmolVLM"
    model_types = ("idefics3", "smolvlm")

    def options(self, processor: Any, settings: Settings) -> dict[str, Any]:
        """Scale the longer edge to a number of tiles."""
        edge = self._tiles_along(processor, settings) * self._tile(processor)
        return {"size": {"longest_edge": edge}}

    def grids(
        self, processor: Any, batch: Any, images: Sequence[Image], settings: Settings
    ) -> list[TokenGrid]:
        """Ask the processor for the rows and columns of each image."""
        side, options = math.isqrt(processor.image_seq_len), self.options(processor, settings)
        count = processor.image_processor.get_number_of_image_patches
        shapes = [count(image.height, image.width, options)[1:] for image in images]
        return [
            tiled_grid(side, rows, columns, "last") if rows else tiled_grid(side)
            for rows, columns in shapes
        ]

    def most(self, processor: Any, vision: Any, settings: Settings) -> tuple[int, int]:
        """Return the tokens and patches of a square image, which has the most tiles."""
        tiles = _tiles(self._tiles_along(processor, settings))
        return tiles * processor.image_seq_len, tiles * patches_of_a_tile(vision)

    def _tile(self, processor: Any) -> int:
        edge: int = processor.image_processor.max_image_size["longest_edge"]
        return edge

    def _tiles_along(self, processor: Any, settings: Settings) -> int:
        most: int = processor.image_processor.size["longest_edge"] // self._tile(processor)
        if settings.tokens_per_image is None:
            return most
        tokens = {n: _tiles(n) * processor.image_seq_len for n in range(1, most + 1)}
        return nearest(settings.tokens_per_image, tokens)


def _tiles(along: int) -> int:
    """Return how many tiles a square image has, with its thumbnail."""
    return along**2 + (along > 1)
