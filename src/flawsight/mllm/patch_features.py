"""Features of an image's patches in the vision encoder, during the model's forward pass."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .token_grid import EncodedTiles, TokenGrid

PatchScore = Callable[[Tensor], Tensor]


@contextmanager
def score_patches(
    model: Any, score: PatchScore | None, grids: Sequence[TokenGrid]
) -> Iterator[list[Tensor]]:
    """Fill a list with a score of each patch of each image encoded inside the block, in order.

    The score is the mean of two: of the features after the encoder's first block, which depend
    mostly on the patch itself, and after the last, which depend on the whole image.

    Args:
        model: of any family.
        score: (n, d) features of the n patches of one image, in any order → (n,) float32. None
            scores nothing.
        grids: of the images.

    Yields:
        A list of (h, w) float32 on the CPU, on the grid of patches, of which several make one image
        token. Tiles make one grid; their thumbnail is left out.
    """
    found: list[Tensor] = []
    with ExitStack() as hooks:
        if score is not None:
            visual = model.get_encoder(modality="image")
            tiles = [grid.encoded for grid in grids if grid.encoded is not None]
            handles = (
                _score_tiles(visual, score, tiles, found)
                if tiles
                else _score_merged(visual, score, found)
            )
            for handle in handles:
                hooks.callback(handle.remove)
        yield found


def _score_merged(visual: Any, score: PatchScore, found: list[Tensor]) -> list[Any]:
    """Hook an encoder that merges merge² patches into a token, after its last block."""
    merge = visual.config.spatial_merge_size
    counts: list[int] = []
    layers: list[Tensor] = []

    def begin(_module: Any, _inputs: Any, named: dict[str, Any]) -> None:
        counts[:] = named["grid_thw"].prod(dim=1).tolist()
        layers.clear()

    def see(_module: Any, _inputs: Any, features: Tensor) -> None:
        layers.append(torch.cat([score(image) for image in torch.split(features, counts)]))

    # Qwen2.5-VL's blocks have their rows in the order of the encoder's windows. It reorders the
    # merger's rows to the image's order, so they carry the scores of their patches.
    def load(_module: Any, _inputs: Any, merged: Tensor) -> Tensor:
        mean = torch.stack(layers).mean(dim=0)
        return torch.cat([merged, mean.view(len(merged), -1).to(merged.dtype)], dim=1)

    def unload(_module: Any, _inputs: Any, named: dict[str, Any], encoded: Any) -> Any:
        merged = encoded.pooler_output
        encoded.pooler_output, scores = merged.split([merged.shape[1] - merge**2, merge**2], dim=1)
        for (_, height, width), rows in zip(
            named["grid_thw"].tolist(), scores.split([n // merge**2 for n in counts]), strict=True
        ):
            units = rows.view(height // merge, width // merge, merge, merge)
            found.append(units.transpose(1, 2).reshape(height, width).float().cpu())
        return encoded

    return [
        visual.register_forward_pre_hook(begin, with_kwargs=True),
        *(block.register_forward_hook(see) for block in {visual.blocks[0], visual.blocks[-1]}),
        visual.merger.register_forward_hook(load),
        visual.register_forward_hook(unload, with_kwargs=True),
    ]


def _score_tiles(
    visual: Any, score: PatchScore, tiles: Sequence[EncodedTiles], found: list[Tensor]
) -> list[Any]:
    """Hook an encoder that sees square tiles, each as one sequence of patches."""
    blocks = next(module for module in visual.modules() if isinstance(module, nn.ModuleList))
    layers: list[list[Tensor]] = []

    def see(_module: Any, _inputs: Any, features: Any) -> None:
        features = features if isinstance(features, Tensor) else features[0]
        images = features.split([each.count for each in tiles])
        layers.append(
            [_score_image(image, each, score) for image, each in zip(images, tiles, strict=True)]
        )

    def end(_module: Any, _inputs: Any, _encoded: Any) -> None:
        found.extend(torch.stack(each).mean(dim=0).cpu() for each in zip(*layers, strict=True))
        layers.clear()

    return [
        *(block.register_forward_hook(see) for block in {blocks[0], blocks[-1]}),
        visual.register_forward_hook(end),
    ]


def _score_image(features: Tensor, tiles: EncodedTiles, score: PatchScore) -> Tensor:
    """Score the patches inside of one image.

    Args:
        features: (tiles, patches of a tile, d); a class token comes before the patches.

    Returns:
        (h, w) float32.
    """
    side = math.isqrt(features.shape[1])
    first = 1 if tiles.thumbnail == "first" else 0
    own = features[first : first + tiles.rows * tiles.columns, -(side**2) :]
    grid = own.view(tiles.rows, tiles.columns, side, side, -1).transpose(1, 2)
    grid = grid.reshape(tiles.rows * side, tiles.columns * side, -1)
    top, left, bottom, right = tiles.area
    inside = grid[_within(top, bottom, len(grid))][:, _within(left, right, grid.shape[1])]
    height, width, _ = inside.shape
    return score(inside.flatten(0, 1)).view(height, width)


def _within(start: float, stop: float, steps: int) -> slice:
    """Return which of equal steps from start to stop have their centre in [0, 1]."""
    centres = start + (torch.arange(steps, dtype=torch.float64) + 0.5) * (stop - start) / steps
    kept = ((centres > 0) & (centres < 1)).nonzero()[:, 0]
    return slice(int(kept[0]), int(kept[-1]) + 1)
