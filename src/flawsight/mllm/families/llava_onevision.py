"""LLaVA-OneVision: the whole image, then tiles of it in rows that end in a separator."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image
from transformers.image_processing_utils import select_best_resolution

from ...settings import Settings
from ..token_grid import EncodedTiles, Tile, TokenGrid
from .family import Family, patches_of_a_tile


class LlavaOnevision(Family):
    """LLaVA-OneVision, and models made of it such as Triad.

    The checkpoint alone chooses the tiles: `image_tokens` has no effect. Several images in a prompt
    have no tiles, and its chat template puts them all before the text.
    """

    name = "LLaVA-OneVision"
    several_images = False
    model_types = ("llava_onevision",)

    def grids(
        self, processor: Any, batch: Any, images: Sequence[Image], settings: Settings
    ) -> list[TokenGrid]:
        """Return the thumbnail, and the tiles without the rows and columns of their padding."""
        return [self._grid(processor, image.height, image.width) for image in images]

    def most(self, processor: Any, vision: Any, settings: Settings) -> tuple[int, int]:
        """Return the tokens and patches of an image in the largest arrangement of tiles."""
        side, limit = math.isqrt(processor.num_image_tokens), _limit(processor)
        tile = processor.image_processor.size["height"]
        tiles = max(h * w for h, w in processor.image_processor.image_grid_pinpoints) // tile**2
        tokens = side**2 * (1 + min(tiles, limit * 1.1**2))
        return math.ceil(1.1 * tokens), (1 + tiles) * patches_of_a_tile(vision)

    def _grid(self, processor: Any, height: int, width: int) -> TokenGrid:
        side, stock = math.isqrt(processor.num_image_tokens), processor.image_processor
        tile = stock.size["height"]
        canvas = select_best_resolution((height, width), stock.image_grid_pinpoints)
        rows, columns = canvas[0] // tile, canvas[1] // tile
        scale = min(canvas[0] / height, canvas[1] / width)
        down = _unpadded(height, canvas[0], rows * side, scale)
        across = _unpadded(width, canvas[1], columns * side, scale)
        h, w = down.kept, across.kept
        # The model shrinks the features of many tiles.
        ratio = math.sqrt(h * w / (_limit(processor) * side**2))
        if ratio > 1.1:
            h, w = int(h // ratio), int(w // ratio)
        area = (down.area[0], across.area[0], down.area[1], across.area[1])
        whole = (down.canvas[0], across.canvas[0], down.canvas[1], across.canvas[1])
        tiles = (Tile((side, side)), Tile((h, w), area, separators=1))
        return TokenGrid((h, w), tiles, EncodedTiles(rows, columns, "first", whole))


@dataclass(frozen=True)
class _Axis:
    """One axis of an image that is padded to a canvas; spans are in shares of the image.

    Attributes:
        canvas: span of the canvas.
        kept: how many of its tokens are left once the model has cut the padding off.
        area: their span.
    """

    canvas: tuple[float, float]
    kept: int
    area: tuple[float, float]


def _unpadded(length: int, pixels: int, tokens: int, scale: float) -> _Axis:
    """Return one axis of an image of `length` pixels, scaled and put on a canvas of `pixels`.

    As the model's `unpad_image`, which counts in whole tokens.
    """
    inside = min(math.ceil(length * scale), pixels)
    before = (pixels - inside) // 2
    cut = (tokens - int(round(length * scale * tokens / pixels, 7))) // 2

    def place(token: int) -> float:
        return (token * pixels / tokens - before) / inside

    return _Axis((place(0), place(tokens)), tokens - 2 * cut, (place(cut), place(tokens - cut)))


def _limit(processor: Any) -> int:
    """Return how many tiles' tokens an image may have: 9 of "anyres_max_9"."""
    return int(processor.vision_aspect_ratio.removeprefix("anyres_max_"))
