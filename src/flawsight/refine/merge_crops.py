"""The first look's map and score and the second look's → one map of the image, and one score."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor

from ..inspection import Box
from ..real.anomaly_map import upsample


def suspect_parts(
    density: Tensor, image_size: tuple[int, int], count: int, share: float
) -> list[Box]:
    """Return parts of an image, each around the densest place outside of those before it.

    Args:
        density: (grid_h, grid_w) of the whole image.
        image_size: (height, width).
        count: of parts at most; there are fewer where they cover all that has any density.
        share: of the image's height and width that a part has, in (0, 1].

    Returns:
        (left, top, width, height) of each, in pixels.
    """
    height, width = image_size
    h, w = max(1, round(share * height)), max(1, round(share * width))
    rows, columns = (  # the pixels in the middle of the cells
        ((torch.arange(cells) + 0.5) * side / cells).long()
        for cells, side in zip(density.shape, image_size, strict=True)
    )
    left_over = density.clone()
    parts: list[Box] = []
    while len(parts) < count and left_over.max() > 0:
        row, column = divmod(int(left_over.argmax()), len(columns))
        top = min(max(0, int(rows[row]) - h // 2), height - h)
        left = min(max(0, int(columns[column]) - w // 2), width - w)
        parts.append((left, top, w, h))
        seen = ((rows >= top) & (rows < top + h))[:, None]
        left_over[seen & (columns >= left) & (columns < left + w)] = 0
    return parts


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
