"""Features of an image's patches in the vision encoder, during the model's forward pass."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..inspection import PatchEvidence
from .token_grid import EncodedTiles, TokenGrid

Read = TypeVar("Read")


@dataclass(frozen=True)
class PatchReader(Generic[Read]):
    """What is read from the features of each image.

    Attributes:
        blocks: of the encoder, in order; negative ones count from the end.
        read: (blocks, h, w, d) features on the grid of patches, of which several make one image
            token → what is kept. Tiles make one grid; their thumbnail is left out.
    """

    blocks: tuple[int, ...]
    read: Callable[[Tensor], Read]


EvidenceReader = PatchReader[PatchEvidence]


@contextmanager
def read_patches(
    model: Any,
    reader: PatchReader[Read] | None,
    grids: Sequence[TokenGrid],
    photo_grids: Sequence[TokenGrid] = (),
) -> Iterator[list[Read]]:
    """Fill a list with what is read of each image encoded inside the block, in order.

    Args:
        model: of any family.
        reader: None reads nothing.
        grids: of the images.
        photo_grids: of the photos of good parts that the encoder sees before each image. They are
            not read.

    Raises:
        ModelError: if the encoder lacks a block of the reader.
    """
    found: list[Read] = []
    with ExitStack() as hooks:
        if reader is not None:
            visual = model.get_encoder(modality="image")
            last = slice(len(photo_grids), None, len(photo_grids) + 1)
            seen = [one for grid in grids for one in (*photo_grids, grid)]
            tiles = [grid.encoded for grid in seen if grid.encoded is not None]
            for handle in (
                _read_tiles(visual, reader, tiles, last, found)
                if tiles
                else _read_merged(visual, reader, last, found)
            ):
                hooks.callback(handle.remove)
        yield found


def depth_of(model: Any) -> int:
    """Return the number of blocks of a model's vision encoder."""
    return len(_blocks_of(model.get_encoder(modality="image")))


def _blocks_of(visual: Any) -> Sequence[nn.Module]:
    if hasattr(visual, "blocks"):
        return list(visual.blocks)
    return list(next(module for module in visual.modules() if isinstance(module, nn.ModuleList)))


def _chosen(visual: Any, reader: PatchReader[Any]) -> list[nn.Module]:
    blocks = _blocks_of(visual)
    if any(not -len(blocks) <= index < len(blocks) for index in reader.blocks):
        raise ModelError(
            f"Blocks {list(reader.blocks)} are to be read, but the vision encoder has "
            f"{len(blocks)}."
        )
    return [blocks[index] for index in reader.blocks]


def _read_merged(
    visual: Any, reader: PatchReader[Read], wanted: slice, found: list[Read]
) -> list[Any]:
    """Hook an encoder that merges merge² patches into a token, after its last block."""
    merge = visual.config.spatial_merge_size
    chosen = _chosen(visual, reader)
    seen: dict[nn.Module, Tensor] = {}
    own = 0

    def see(block: nn.Module, _inputs: Any, features: Tensor) -> None:
        seen[block] = features

    # Qwen2.5-VL's blocks have their rows in the order of the encoder's windows. It reorders the
    # merger's rows to the image's order, so they carry the features of their patches.
    def load(_module: Any, _inputs: Any, merged: Tensor) -> Tensor:
        nonlocal own
        own = merged.shape[1]
        features = torch.stack([seen[block] for block in chosen], dim=1)
        seen.clear()
        return torch.cat([merged, features.view(len(merged), -1).to(merged.dtype)], dim=1)

    def unload(_module: Any, _inputs: Any, named: dict[str, Any], encoded: Any) -> Any:
        encoded.pooler_output, features = encoded.pooler_output.tensor_split([own], dim=1)
        grids = named["grid_thw"].tolist()
        counts = [height * width // merge**2 for _, height, width in grids]
        images = list(zip(grids, features.split(counts), strict=True))
        for (_, height, width), rows in images[wanted]:
            units = rows.view(height // merge, width // merge, merge, merge, len(chosen), -1)
            found.append(reader.read(units.permute(4, 0, 2, 1, 3, 5).flatten(3, 4).flatten(1, 2)))
        return encoded

    return [
        *(block.register_forward_hook(see) for block in {*chosen}),
        visual.merger.register_forward_hook(load),
        visual.register_forward_hook(unload, with_kwargs=True),
    ]


def _read_tiles(
    visual: Any,
    reader: PatchReader[Read],
    tiles: Sequence[EncodedTiles],
    wanted: slice,
    found: list[Read],
) -> list[Any]:
    """Hook an encoder that sees square tiles, each as one sequence of patches."""
    chosen = _chosen(visual, reader)
    seen: dict[nn.Module, Sequence[Tensor]] = {}

    def see(block: nn.Module, _inputs: Any, features: Any) -> None:
        features = features if isinstance(features, Tensor) else features[0]
        seen[block] = features.split([each.count for each in tiles])

    def end(_module: Any, _inputs: Any, _encoded: Any) -> None:
        for index, each in list(enumerate(tiles))[wanted]:
            layers = [_image_of(seen[block][index], each) for block in chosen]
            found.append(reader.read(torch.stack(layers)))
        seen.clear()

    return [
        *(block.register_forward_hook(see) for block in {*chosen}),
        visual.register_forward_hook(end),
    ]


def _image_of(features: Tensor, tiles: EncodedTiles) -> Tensor:
    """Return the features of the patches inside of one image.

    Args:
        features: (tiles, patches of a tile, d); a class token comes before the patches.

    Returns:
        (h, w, d).
    """
    side = math.isqrt(features.shape[1])
    first = 1 if tiles.thumbnail == "first" else 0
    own = features[first : first + tiles.rows * tiles.columns, -(side**2) :]
    grid = own.view(tiles.rows, tiles.columns, side, side, -1).transpose(1, 2)
    grid = grid.reshape(tiles.rows * side, tiles.columns * side, -1)
    top, left, bottom, right = tiles.area
    return grid[_within(top, bottom, len(grid))][:, _within(left, right, grid.shape[1])]


def _within(start: float, stop: float, steps: int) -> slice:
    """Return which of equal steps from start to stop have their centre in [0, 1]."""
    centres = start + (torch.arange(steps, dtype=torch.float64) + 0.5) * (stop - start) / steps
    kept = ((centres > 0) & (centres < 1)).nonzero()[:, 0]
    return slice(int(kept[0]), int(kept[-1]) + 1)
