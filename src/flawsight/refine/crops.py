"""A second look, closer: the first look's words are put to parts of the image.

The words are replayed, not generated again, so that a part costs one forward pass. What the model
attends to there while it reads them, and whether it would answer Yes, goes into the map.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from PIL.Image import Image

from ..errors import AnswerError, FlawsightError
from ..inspection import Box, Glance, Trace
from ..mllm.ask_again import ask_again
from ..mllm.generate import generate, replay
from ..mllm.load import MLLM
from ..mllm.response import answer_score, parse_response
from ..real.anomaly_map import density
from ..real.select import reasoning_rows
from ..settings import Settings
from .feature_distance import weigh
from .merge_crops import suspect_parts
from .sinks import relative

Outcome = TypeVar("Outcome", bound=Trace | FlawsightError)


def look(mllm: MLLM, images: Sequence[Image], settings: Settings) -> list[Trace]:
    """Ask about each image, again where `settings.reask` bids, and look at parts of it again.

    Raises:
        ModelError: if the model computes NaN.
    """
    ask = partial(generate, mllm)
    traces = ask_again(ask, images, ask(images, settings), settings)
    return look_again(mllm, images, traces, settings)


def look_again(
    mllm: MLLM, images: Sequence[Image], traces: Sequence[Outcome], settings: Settings
) -> list[Outcome]:
    """Give the traces of a first look, where there are any, the glances of the second.

    Raises:
        ModelError: if the model computes NaN.
    """
    if not settings.crops:
        return list(traces)
    texts = [trace.text if isinstance(trace, Trace) else "" for trace in traces]
    jobs: list[tuple[int, Box]] = []
    for index, (image, trace) in enumerate(zip(images, traces, strict=True)):
        if not isinstance(trace, Trace):
            continue
        attention = _mean_of_words(trace, settings)
        if attention is None:  # nothing was said that could be put to a part
            continue
        size = (image.height, image.width)
        if mllm.looks is not None:
            usual = mllm.looks.usual(settings.layers, settings.heads)
            attention = relative(density(attention), usual)
        first = weigh(attention, trace.rarity)
        boxes = suspect_parts(first, size, settings.crops, settings.crop_share)
        jobs += [(index, box) for box in boxes]
    glances: list[list[Glance]] = [[] for _ in images]
    # Few at once stay in a processor's cache, which is worth more than a batch there.
    at_once = min(len(images), 4) if mllm.device.type == "cpu" else len(images)
    if settings.image_tokens is not None:
        tokens = max(1, round(settings.crop_token_share * settings.image_tokens))
        settings = replace(settings, image_tokens=tokens)
    for start in range(0, len(jobs), at_once):
        chunk = jobs[start : start + at_once]
        parts = [
            images[i].crop((left, top, left + width, top + height))
            for i, (left, top, width, height) in chunk
        ]
        again = replay(mllm, parts, [texts[i] for i, _ in chunk], settings)
        for (index, box), closer in zip(chunk, again, strict=True):
            attention = _mean_of_words(closer, settings)
            assert attention is not None
            score = answer_score(closer, parse_response(closer.text))
            glances[index].append(Glance(box, attention, score, closer.rarity))
    return [
        replace(trace, glances=tuple(seen)) if isinstance(trace, Trace) else trace
        for trace, seen in zip(traces, glances, strict=True)
    ]


def _mean_of_words(trace: Trace, settings: Settings) -> torch.Tensor | None:
    """Return the (grid_h, grid_w) mean attention of all reasoning tokens, if there are any."""
    try:
        response = parse_response(trace.text)
    except AnswerError:
        return None
    _, rows, _ = reasoning_rows(trace, response.reasoning, settings)
    return trace.image_attention[rows].mean(dim=0) if len(rows) else None
