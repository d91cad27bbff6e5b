"""Inspect crops around the peaks of the map. Beyond the paper.

The response to the whole image is replayed on each crop, not generated again: a crop costs one
forward pass. Its attention is merged into the map, and its P(Yes) into the score.

Photos of good parts in the prompt do not go with a crop. They show whole parts: beside one, every
crop would differ from what it is to be compared with, in scale and frame. The response that is
replayed has compared the whole image already.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from scipy.special import expit, logit
from torch import Tensor

from ..errors import FlawsightError
from ..frame import cells_inside
from ..inspection import Box, Crop, Trace
from ..mllm.load import MLLM
from ..mllm.patch_features import EvidenceReader
from ..mllm.replay import replay
from ..real.anomaly_map import upsample
from ..real.token_selection import mean_attention
from ..reference.compare import multiply_by_reference
from ..settings import Settings
from .attention_prior import divide_by_prior
from .feature_distance import multiply_by_distance

Outcome = TypeVar("Outcome", bound=Trace | FlawsightError)
Array = NDArray[np.float64]

# Batch size of crops on a CPU. A small batch stays in its cache, which saves more than batching.
AT_ONCE = 4


def inspect_crops(
    mllm: MLLM,
    images: Sequence[Image],
    traces: Sequence[Outcome],
    settings: Settings,
    prior: Tensor | None = None,
    reader: EvidenceReader | None = None,
) -> list[Outcome]:
    """Add crops to the traces; errors are returned unchanged.

    Args:
        images: RGB images.
        traces: one trace or error per image.
        settings: `crops`, their size and tokens.
        prior: (h, w) density on normal images, or None.
        reader: of the crops' patches.

    Raises:
        ModelError: if the model computes NaN.
    """
    if not settings.crops:
        return list(traces)
    jobs: list[tuple[int, Box, str]] = []
    for index, (image, trace) in enumerate(zip(images, traces, strict=True)):
        if not isinstance(trace, Trace):
            continue
        attention = mean_attention(trace, settings)
        if attention is None:  # no reasoning to replay
            continue
        suspect = multiply_by_reference(
            multiply_by_distance(divide_by_prior(attention, prior), trace.patches.feature_distance),
            trace.patches.reference_distance,
        )
        size = (image.height, image.width)
        counted = cells_inside(settings.roi, (suspect.shape[0], suspect.shape[1]))
        if counted is not None:
            suspect = suspect * torch.from_numpy(counted)
        boxes = suspect_crops(suspect, size, settings.crops, settings.crop_share)
        jobs += [(index, box, trace.text) for box in boxes]
    tokens = settings.image_tokens
    if tokens is not None:
        tokens = max(1, round(settings.crop_token_share * tokens))
    settings = replace(settings, image_grid=None, image_tokens=tokens)
    at_once = min(len(images), AT_ONCE) if mllm.device.type == "cpu" else len(images)
    crops: list[list[Crop]] = [[] for _ in images]
    for start in range(0, len(jobs), at_once):
        chunk = jobs[start : start + at_once]
        cut = [
            images[i].crop((left, top, left + width, top + height))
            for i, (left, top, width, height), _ in chunk
        ]
        replayed = replay(mllm, cut, [text for *_, text in chunk], settings, reader)
        for (index, box, _), seen in zip(chunk, replayed, strict=True):
            attention = mean_attention(seen, settings)
            assert attention is not None
            crops[index].append(Crop(box, attention, seen.answer_score, seen.patches))
    return [
        replace(trace, crops=tuple(seen)) if isinstance(trace, Trace) else trace
        for trace, seen in zip(traces, crops, strict=True)
    ]


def suspect_crops(
    density: Tensor, image_size: tuple[int, int], count: int, share: float
) -> list[Box]:
    """Return crops of an image, each around the densest patch outside of the crops before it.

    Args:
        density: (grid_h, grid_w) of the whole image.
        image_size: (height, width).
        count: greatest number of crops; fewer if they cover all density.
        share: of the image's height and width that a crop has, in (0, 1].

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
    crops: list[Box] = []
    while len(crops) < count and left_over.max() > 0:
        row, column = divmod(int(left_over.argmax()), len(columns))
        top = min(max(0, int(rows[row]) - h // 2), height - h)
        left = min(max(0, int(columns[column]) - w // 2), width - w)
        crops.append((left, top, w, h))
        seen = ((rows >= top) & (rows < top + h))[:, None]
        left_over[seen & (columns >= left) & (columns < left + w)] = 0
    return crops


def merge_crops(
    density: Tensor, crops: Sequence[tuple[Box, Tensor, float]], image_size: tuple[int, int]
) -> Tensor:
    """Return the (height, width) density of the whole image merged with that of its crops.

    Inside crops it is the mean of the whole image's density and the crops'. A crop's density is
    weighted by 2 P(Yes), which is 1 if the model is undecided.

    Args:
        density: (grid_h, grid_w) of the whole image.
        crops: (left, top, width, height) in pixels, (h, w) density there, and P(Yes).
        image_size: (height, width).
    """
    whole = upsample(density, image_size)
    total, count = torch.zeros_like(whole), torch.zeros_like(whole)
    for (left, top, width, height), inside, score in crops:
        place = (slice(top, top + height), slice(left, left + width))
        total[place] += 2 * score * upsample(inside, (height, width))
        count[place] += 1
    return torch.where(count > 0, (whole + total / count.clamp(min=1)) / 2, whole)


def merge_scores(whole: float, crops: Sequence[float]) -> float:
    """Return P(Yes) of the whole image and its crops.

    The log-odds are the mean of the whole image's and the crops' mean. The whole image lacks a
    crop's detail, and a crop lacks the context. Without crops, `whole` is returned.
    """
    if not crops:
        return whole
    log_odds = _log_odds([whole, *crops])
    return float(expit((log_odds[0] + log_odds[1:].mean()) / 2))


def mean_score(scores: Sequence[float]) -> float:
    """Return the P(Yes) whose log-odds are the mean of those of at least one."""
    return float(expit(_log_odds(scores).mean()))


def _log_odds(scores: Sequence[float]) -> Array:
    log_odds: Array = logit(np.clip(scores, 1e-12, 1 - 1e-12))
    return log_odds
