"""The first look's map and score and the second look's → one map of the image, and one score."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor

from ..inspection import Box
from .anomaly_map import upsample


def tiles(image_size: tuple[int, int]) -> list[Box]:
    """Return four (left, top, width, height) tiles that cover the image and overlap by a fifth.

    Two by two, or four in a row where that makes squarer ones.
    """
    height, width = image_size
    layouts = [(2, 2), (1, 4), (4, 1)]
    # A tile's longer side over its shorter one.
    rows, columns = min(
        layouts,
        key=lambda n: max((height / n[0]) / (width / n[1]), (width / n[1]) / (height / n[0])),
    )
    spans = [
        [(round(i * (side - size) / max(1, n - 1)), size) for i in range(n)]
        for side, n in ((height, rows), (width, columns))
        for size in [side if n == 1 else min(side, round(1.2 * side / n))]
    ]
    return [(x, y, w, h) for y, h in spans[0] for x, w in spans[1]]


def most_suspect(boxes: Sequence[Box], density: Tensor, image_size: tuple[int, int]) -> list[Box]:
    """Sort boxes by the greatest density inside, falling.

    Args:
        boxes: (left, top, width, height) in pixels.
        density: (grid_h, grid_w) of the whole image.
        image_size: (height, width).
    """
    grid_h, grid_w = density.shape

    def peak(box: Box) -> float:
        left, top, width, height = box
        rows = slice(top * grid_h // image_size[0], -(-(top + height) * grid_h // image_size[0]))
        columns = slice(
            left * grid_w // image_size[1], -(-(left + width) * grid_w // image_size[1])
        )
        return float(density[rows, columns].max())

    return sorted(boxes, key=peak, reverse=True)


def merge(
    density: Tensor, looks: Sequence[tuple[Box, Tensor, float]], image_size: tuple[int, int]
) -> Tensor:
    """Return the (height, width) density of a first look and of a closer look at parts.

    Where closer looks were taken, it is the mean of the first look's and of theirs. Each of these
    counts by 2 P(Yes), which is 1 for a part about which the model is undecided.

    Args:
        density: (grid_h, grid_w) of the whole image.
        looks: (left, top, width, height) in pixels, (h, w) density there, and P(Yes).
        image_size: (height, width).
    """
    whole = upsample(density, image_size)
    total, count = torch.zeros_like(whole), torch.zeros_like(whole)
    for (left, top, width, height), part, score in looks:
        place = (slice(top, top + height), slice(left, left + width))
        total[place] += 2 * score * upsample(part, (height, width))
        count[place] += 1
    return torch.where(count > 0, (whole + total / count.clamp(min=1)) / 2, whole)


def merge_scores(whole: float, parts: Sequence[float]) -> float:
    """Return P(Yes) after a first look and a closer look at parts.

    Its log-odds are the mean of the first look's and of the closer looks' mean: neither has the
    whole a part's detail, nor has a part the rest of the image to be compared with.

    Args:
        whole: P(Yes) of the first look.
        parts: of each part; none leaves `whole` as it is.
    """
    if not parts:
        return whole
    log_odds = logit(np.clip([whole, *parts], 1e-12, 1 - 1e-12))
    return float(expit((log_odds[0] + log_odds[1:].mean()) / 2))
