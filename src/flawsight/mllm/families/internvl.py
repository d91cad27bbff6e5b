"""InternVL: tiles in the arrangement nearest to the image's aspect, then a thumbnail."""

import math
from collections.abc import Sequence
from typing import Any

from PIL.Image import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from ...settings import Settings
from ..token_grid import TokenGrid, tiled_grid
from .family import Family, nearest, patches_of_a_tile


class InternVL(Family):
    """InternVL 2.5, 3 and 3.5 for transformers (names that end in -hf).

    `image_tokens` limits the tiles: to those that have about as many tokens.
    """

    name = "InternVL"
    model_types = ("internvl",)

    def options(self, processor: Any, settings: Settings) -> dict[str, Any]:
        """Limit the tiles."""
        most = self._most_tiles(processor, settings)
        stock = processor.image_processor
        return {"min_patches": min(most, stock.min_patches), "max_patches": most}

    def grids(
        self, processor: Any, batch: Any, images: Sequence[Image], settings: Settings
    ) -> list[TokenGrid]:
        """Arrange tiles as the processor does."""
        size, options = processor.image_processor.size, self.options(processor, settings)
        side, tile = math.isqrt(processor.image_seq_length), (size["height"], size["width"])
        shapes = [
            get_optimal_tiled_canvas((image.height, image.width), tile, *options.values())
            for image in images
        ]
        return [
            tiled_grid(side, rows, columns, "last" if rows * columns > 1 else None)
            for columns, rows in shapes
        ]

    def most(self, processor: Any, vision: Any, settings: Settings) -> tuple[int, int]:
        """Return the tokens and patches of the most tiles."""
        tiles = _with_thumbnail(self._most_tiles(processor, settings))
        return tiles * processor.image_seq_length, tiles * patches_of_a_tile(vision)

    def _most_tiles(self, processor: Any, settings: Settings) -> int:
        most: int = processor.image_processor.max_patches
        if settings.tokens_per_image is None:
            return most
        tokens = {n: _with_thumbnail(n) * processor.image_seq_length for n in range(1, most + 1)}
        return nearest(settings.tokens_per_image, tokens)


def _with_thumbnail(tiles: int) -> int:
    return tiles + (tiles > 1)
