"""Attention spread over an image's map, against rectangles intersected one by one."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flawsight.mllm.token_grid import WHOLE, Tile, TokenGrid, tiled_grid

COUNTS = st.integers(1, 4)
SHARES = st.floats(0.0, 0.4)


@st.composite
def grids(draw: st.DrawFn) -> TokenGrid:
    tiles = [
        Tile(
            (draw(COUNTS), draw(COUNTS)),
            (draw(SHARES) - 0.2, draw(SHARES) - 0.2, 0.8 + draw(SHARES), 0.8 + draw(SHARES)),
            draw(st.integers(0, 1)),
        )
        for _ in range(draw(COUNTS))
    ]
    return TokenGrid((draw(COUNTS), draw(COUNTS)), tuple(tiles))


def by_rectangles(grid: TokenGrid, attention: list[float]) -> list[list[float]]:
    grid_h, grid_w = grid.shape
    found = [[0.0] * grid_w for _ in range(grid_h)]
    tokens = iter(attention)
    for tile in grid.tiles:
        rows, columns = tile.shape
        top, left, bottom, right = tile.area
        for r in range(rows):
            for c in range(columns + tile.separators):
                value = next(tokens)
                if c >= columns:
                    continue
                up, down = (top + (bottom - top) * n / rows for n in (r, r + 1))
                west, east = (left + (right - left) * n / columns for n in (c, c + 1))
                covered = {
                    (y, x): max(0.0, min(down, (y + 1) / grid_h) - max(up, y / grid_h))
                    * max(0.0, min(east, (x + 1) / grid_w) - max(west, x / grid_w))
                    for y in range(grid_h)
                    for x in range(grid_w)
                }
                total = sum(covered.values())
                for (y, x), area in covered.items():
                    found[y][x] += value * area / total if total > 1e-9 else 0.0
    return found


@settings(max_examples=60)
@given(grids(), st.integers(0, 2**31))
def test_a_token_s_attention_lies_where_it_covers_the_image(grid: TokenGrid, seed: int) -> None:
    attention = torch.rand(2, grid.tokens, generator=torch.Generator().manual_seed(seed))
    for row, found in zip(attention, grid.to_map(attention), strict=True):
        torch.testing.assert_close(found, torch.tensor(by_rectangles(grid, row.tolist())))


@settings(max_examples=20)
@given(COUNTS, COUNTS, COUNTS, st.sampled_from([None, "first", "last"]))
def test_tiles_and_thumbnail_conserve_attention(
    side: int, rows: int, columns: int, thumbnail: str | None
) -> None:
    grid = tiled_grid(side, rows, columns, thumbnail)  # type: ignore[arg-type]
    attention = torch.rand(3, grid.tokens)
    assert grid.shape == (rows * side, columns * side)
    torch.testing.assert_close(grid.to_map(attention).sum(dim=(1, 2)), attention.sum(dim=1))


def test_tokens_that_are_the_cells_are_left_as_they_are() -> None:
    attention = torch.rand(3, 6)
    for tiles in ((), (Tile((2, 3), WHOLE),)):
        assert torch.equal(TokenGrid((2, 3), tiles).to_map(attention), attention.view(3, 2, 3))
