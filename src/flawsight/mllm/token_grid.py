"""Where an image's tokens lie on the image: in one grid, or in tiles of several scales."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# (top, left, bottom, right), in shares of the image's height and width.
Area = tuple[float, float, float, float]
WHOLE: Area = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Tile:
    """A block of image tokens, row by row.

    Attributes:
        shape: (rows, columns) of tokens.
        area: of the image that they cover; padding may reach beyond the image.
        separators: tokens after each row that cover nothing.
    """

    shape: tuple[int, int]
    area: Area = WHOLE
    separators: int = 0

    @property
    def tokens(self) -> int:
        """Number of tokens, with separators."""
        return self.shape[0] * (self.shape[1] + self.separators)


@dataclass(frozen=True)
class EncodedTiles:
    """The tiles of pixels that a vision encoder sees of one image, row by row.

    Attributes:
        rows, columns: of tiles, without the thumbnail.
        thumbnail: place of the whole image among them; None if it is not there.
        area: of the image that the tiles cover together.
    """

    rows: int = 1
    columns: int = 1
    thumbnail: Literal["first", "last"] | None = None
    area: Area = WHOLE

    @property
    def count(self) -> int:
        """Number of tiles, with the thumbnail."""
        return self.rows * self.columns + (self.thumbnail is not None)


@dataclass(frozen=True)
class TokenGrid:
    """The map that an image's tokens make.

    Attributes:
        shape: (grid_h, grid_w) of the map.
        tiles: of tokens, in the order of the prompt; none if the tokens are the map's cells.
        encoded: tiles that the vision encoder sees; None if it sees the image in one piece.
    """

    shape: tuple[int, int]
    tiles: tuple[Tile, ...] = ()
    encoded: EncodedTiles | None = None

    @property
    def tokens(self) -> int:
        """Number of image tokens."""
        tiles = self.tiles or (Tile(self.shape),)
        return sum(tile.tokens for tile in tiles)

    def to_map(self, attention: Tensor) -> Tensor:
        """Spread each token's attention evenly over the part of the image that it covers.

        Args:
            attention: (N, tokens).

        Returns:
            (N, grid_h, grid_w); its sum is that of the attention, less what separators have.
        """
        if not self.tiles:
            return attention.reshape(-1, *self.shape)
        total = attention.new_zeros(len(attention), *self.shape)
        parts = torch.split(attention, [tile.tokens for tile in self.tiles], dim=1)
        for tile, part in zip(self.tiles, parts, strict=True):
            (rows, columns), (top, left, bottom, right) = tile.shape, tile.area
            cells = part.reshape(-1, rows, columns + tile.separators)[..., :columns]
            down = _shares(self.shape[0], rows, top, bottom).to(attention)
            across = _shares(self.shape[1], columns, left, right).to(attention)
            total += down @ cells @ across.T
        return total


def tiled_grid(
    side: int, rows: int = 1, columns: int = 1, thumbnail: Literal["first", "last"] | None = None
) -> TokenGrid:
    """Return the grid of rows × columns tiles of side² tokens, which cover the image exactly."""
    tiles = [
        Tile((side, side), (r / rows, c / columns, (r + 1) / rows, (c + 1) / columns))
        for r in range(rows)
        for c in range(columns)
    ]
    if thumbnail is not None:
        tiles.insert(0 if thumbnail == "first" else len(tiles), Tile((side, side)))
    encoded = EncodedTiles(rows, columns, thumbnail)
    return TokenGrid((rows * side, columns * side), tuple(tiles) if len(tiles) > 1 else (), encoded)


def _shares(cells: int, steps: int, start: float, stop: float) -> Tensor:
    """Return (cells, steps): how much of each of equal steps lies in each of equal cells.

    The cells divide [0, 1] and the steps [start, stop]. What lies outside of [0, 1] is left out; a
    step's shares add up to 1.
    """
    cell = torch.linspace(0, 1, cells + 1, dtype=torch.float64)[:, None]
    step = torch.linspace(start, stop, steps + 1, dtype=torch.float64)
    overlap = (torch.minimum(step[1:], cell[1:]) - torch.maximum(step[:-1], cell[:-1])).clamp(min=0)
    return overlap / overlap.sum(dim=0).clamp(min=1e-12)
