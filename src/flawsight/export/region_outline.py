"""The outline of a region as one polygon along the edges of its pixels."""

import numpy as np

from ..real.regions import Mask

_Corner = tuple[int, int]  # (x, y), the upper left corner of the pixel in column x and row y


def outline_of(mask: Mask) -> list[_Corner]:
    """Return the corners of a region's outer outline, clockwise, in pixels.

    A pixel's centre is inside iff the pixel is the region's or in a hole of it.

    Args:
        mask: (height, width), one 8-connected region.
    """
    follows = _edges(np.pad(mask, 1))
    row = int(np.flatnonzero(mask.any(axis=1))[0])
    start = (int(np.flatnonzero(mask[row])[0]), row)
    corners: list[_Corner] = []
    at, heading = start, (1, 0)
    while True:
        x, y = at[0] + heading[0], at[1] + heading[1]
        left = (heading[1], -heading[0])
        # Where two pixels touch by a corner alone, the outline goes on along the other one.
        turn = left if left in follows[x, y] else next(iter(follows[x, y]))
        if turn != heading:
            corners.append((x, y))
        at, heading = (x, y), turn
        if at == start and heading == (1, 0):
            return corners


def _edges(padded: Mask) -> dict[_Corner, set[_Corner]]:
    """Return the headings of the outline at each corner, with the region on the right.

    `padded` has a pixel of margin, which the corners do not count.
    """
    inside = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (0, 1)),
        (padded[2:, 1:-1], (1, 1), (-1, 0)),
        (padded[1:-1, :-2], (0, 1), (0, -1)),
    )
    follows: dict[_Corner, set[_Corner]] = {}
    for beyond, (right, down), heading in sides:
        for y, x in np.argwhere(inside & ~beyond).tolist():
            follows.setdefault((x + right, y + down), set()).add(heading)
    return follows
