"""Anomaly map → defect regions, each with the phrases of the reasoning that attend to it.

The paper localizes pixels, one map per image; what follows is ours. Arrays in, regions out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from scipy.optimize import linear_sum_assignment

from ..frame import Frame
from ..inspection import FloatArray, Region

Mask = NDArray[np.bool_]


def mask_of(anomaly_map: FloatArray, threshold: float) -> Mask:
    """Return the pixels whose value is above the threshold, (height, width)."""
    return anomaly_map > np.float32(threshold)


def regions_of(anomaly_map: FloatArray, threshold: float) -> Iterator[Region]:
    """Yield the 8-connected regions above a threshold, by their topmost, leftmost pixel.

    Args:
        anomaly_map: (height, width), higher for a defect.
        threshold: see `mask_of`.
    """
    labels, _ = label(mask_of(anomaly_map, threshold), np.ones((3, 3)))
    height, width = labels.shape
    for number, (rows, columns) in enumerate(find_objects(labels), start=1):
        inside = labels[rows, columns] == number
        strip = np.zeros((height, columns.stop - columns.start), np.bool_)
        strip[rows] = inside
        yield Region(
            image_size=(height, width),
            box=(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start),
            area=int(np.count_nonzero(inside)),
            score=float(anomaly_map[rows, columns][inside].max()),
            counts=run_lengths(strip, columns.start * height, height * width),
        )


def peak_region(anomaly_map: FloatArray, threshold: float) -> Region | None:
    """Return the region around the largest value of a map; None if the map is constant.

    Its pixels are above the threshold or, if that is lower, above the middle between the map's mean
    and its largest value.
    """
    middle = (float(anomaly_map.mean(dtype=np.float64)) + float(anomaly_map.max())) / 2
    found = regions_of(anomaly_map, min(threshold, middle))
    return max(found, key=lambda region: region.score, default=None)


def in_photo(regions: Sequence[Region], frame: Frame | None) -> tuple[Region, ...]:
    """Return regions of a frame's box as regions of the whole photo."""
    if frame is None:
        return tuple(regions)
    (height, width), (left, top, _, _) = frame.image_size, frame.box

    def moved(region: Region) -> Region:
        x, y, across, down = region.box
        strip = np.zeros((height, across), np.bool_)
        strip[top + y : top + y + down] = region.mask[y : y + down, x : x + across]
        return replace(
            region,
            image_size=(height, width),
            box=(left + x, top + y, across, down),
            counts=run_lengths(strip, (left + x) * height, height * width),
        )

    return tuple(map(moved, regions))


def run_lengths(strip: Mask, before: int, total: int) -> tuple[int, ...]:
    """Return the run lengths, down the columns, of an image that is empty but for a strip."""
    flat = strip.ravel(order="F")
    turns = np.flatnonzero(np.diff(flat, prepend=False, append=False)) + before
    return tuple(np.diff(turns, prepend=0, append=total).tolist())


def cover(region: Region, grid: tuple[int, int]) -> FloatArray:
    """Return the share of each cell of a (grid_h, grid_w) grid that lies in the region."""
    height, width = region.image_size
    rows = (np.arange(height) * grid[0]) // height
    columns = (np.arange(width) * grid[1]) // width
    left, top, across, down = region.box
    y, x = np.nonzero(region.mask[top : top + down, left : left + across])
    cells = rows[y + top] * grid[1] + columns[x + left]
    inside = np.bincount(cells, minlength=grid[0] * grid[1]).reshape(grid)
    size = np.outer(np.bincount(rows, minlength=grid[0]), np.bincount(columns, minlength=grid[1]))
    # A grid finer than the image has cells without a pixel.
    share: FloatArray = np.divide(inside, size, out=np.zeros(grid), where=size > 0)
    return share.astype(np.float32)


def tie_phrases(
    regions: Sequence[Region],
    token_maps: FloatArray,
    phrases: Sequence[tuple[str, Sequence[int]]],
) -> tuple[Region, ...]:
    """Give each region the phrases that attend to it more than to the rest of the image.

    The excess of a phrase at a region is the share of its tokens' attention there, less the
    region's share of the image. Phrases are assigned to different regions, with the greatest sum of
    excesses. If there are more phrases than regions, each of the rest goes to the region of its
    greatest excess. A phrase without an excess above 0 is tied to no region.

    Args:
        regions: K.
        token_maps: (R, grid_h, grid_w) attention of the reasoning tokens.
        phrases: S phrases (text, indices of its tokens) about a defect.

    Returns:
        The regions in the same order, with `phrases` and `tokens`.
    """
    phrases = [(text, list(tokens)) for text, tokens in phrases if len(tokens)]
    if not regions or not phrases:
        return tuple(regions)
    shares = np.stack([cover(region, token_maps.shape[1:]) for region in regions])
    # What rounding leaves of flat attention is no excess.
    attention = token_maps / token_maps.sum(axis=(1, 2), keepdims=True).clip(min=1e-30)
    excess = np.einsum("khw,rhw->rk", shares, attention) - shares.mean(axis=(1, 2)) - 1e-6
    totals = np.stack([excess[tokens].mean(axis=0) for _, tokens in phrases])
    chosen = totals.argmax(axis=1)
    rows, columns = linear_sum_assignment(totals, maximize=True)
    chosen[rows] = columns
    tied = list(regions)
    for (text, tokens), total, to in zip(phrases, totals, chosen, strict=True):
        if total[to] > 0:
            joined = f"{tied[to].phrases} {text}".strip()
            tied[to] = replace(tied[to], phrases=joined, tokens=(*tied[to].tokens, *tokens))
    return tuple(tied)
