"""Trace → Inspection in four steps, without a model: select, aggregate, refine, regions."""

import math
import time
from collections.abc import Sequence

import numpy as np
from PIL.Image import Image
from torch import Tensor

from .inspection import Crop, FloatArray, Inspection, ReasoningToken, Region, Trace
from .mllm.contradiction import disagreements, fault_phrases
from .real.anomaly_map import HALF, aggregate
from .real.regions import regions_of, tie_phrases
from .real.token_selection import ScoredReasoning, select
from .refine.attention_prior import divide_by_prior, sink_share
from .refine.crops import merge_crops, merge_scores
from .refine.feature_distance import multiply_by_distance
from .refine.guided_filter import brightness, guided_filter
from .settings import Settings

# Of a grid cell, and of its side: a region that is smaller is a tip of the map that barely reaches
# the threshold, and one that is narrower lies along the border of a crop.
SPECK, STRIP = 0.25, 0.5


def localize(
    trace: Trace,
    image_size: tuple[int, int],
    settings: Settings,
    *,
    threshold: float | None = None,
    prior: Tensor | None = None,
    photo: Image | None = None,
    image: str | None = None,
    trace_seconds: float = 0.0,
    warnings: tuple[str, ...] = (),
) -> Inspection:
    """Turn a response with its attention into an Inspection.

    Args:
        trace: of one response.
        image_size: (height, width) of the image in pixels.
        settings: of ReAL and the steps beyond it.
        threshold: see `Inspector`.
        prior: (h, w) density on normal images; None leaves `attention_prior` out.
        photo: the image itself, for `guided_filter`; None leaves that out.
        image: where the image came from.
        trace_seconds: time spent on the trace.
        warnings: of the photo's reader.

    Raises:
        AnswerError: if the response is empty.
    """
    began = time.perf_counter()
    reasoning = select(trace, settings)
    scores = reasoning.scores
    attention = aggregate(reasoning.attention, scores.selected, scores.weights)
    anomaly_map = refine(attention, trace, image_size, settings, prior).numpy()
    regions = suspect_regions(anomaly_map, attention.numel(), settings)
    map_peak = float(anomaly_map.max())
    if settings.guided_filter and photo is not None:
        # After the regions are found: along edges they would fall into pieces.
        distance = _distance(trace, settings)
        cells = (attention if distance is None else distance).numel()
        anomaly_map = guided_filter(anomaly_map, brightness(photo), cells)
    pred_score = trace.answer_score
    if settings.score_crops:
        pred_score = merge_scores(pred_score, [crop.score for crop in _crops(trace, settings)])
    answer = reasoning.response.answer
    pred_label = answer == "Yes" if threshold is None else pred_score > threshold
    explanation = trace.text[slice(*reasoning.response.reasoning)]
    token_maps = reasoning.attention.numpy()
    return Inspection(
        image=image,
        image_size=image_size,
        pred_label=pred_label,
        pred_score=pred_score,
        anomaly_map=anomaly_map,
        answer=answer,
        answer_forced=trace.answer_forced,
        explanation=explanation.strip(),
        disagreements=disagreements(pred_label, answer, explanation),
        tokens=tuple(_reasoning_tokens(trace, reasoning)),
        token_maps=token_maps,
        timings={"trace": trace_seconds, "localize": time.perf_counter() - began},
        map_peak=map_peak,
        regions=tie_phrases(regions, token_maps, _phrases(trace, reasoning)),
        sink_share=None if prior is None else sink_share(attention, prior),
        warnings=warnings,
    )


def refine(
    attention: Tensor,
    trace: Trace,
    image_size: tuple[int, int],
    settings: Settings,
    prior: Tensor | None = None,
) -> Tensor:
    """Turn A_RDAM into the image's map, with the steps beyond the paper that the settings name.

    Args:
        attention: (grid_h, grid_w) A_RDAM.
        trace: its crops are merged, `settings.crops` at most.
        image_size: (height, width).
        settings: `feature_distance` and `crops`.
        prior: (h, w) density on normal images; None leaves `attention_prior` out.

    Returns:
        (height, width) in [0, 1), on one scale for all images.
    """

    def refined(attention: Tensor, seen: Trace | Crop) -> Tensor:
        return multiply_by_distance(divide_by_prior(attention, prior), _distance(seen, settings))

    whole = refined(attention, trace)
    crops = _crops(trace, settings)
    inside = [(crop.box, refined(crop.attention, crop), crop.score) for crop in crops]
    merged = merge_crops(whole, inside, image_size)
    return merged / (merged + HALF)


def suspect_regions(anomaly_map: FloatArray, cells: int, settings: Settings) -> list[Region]:
    """Return the regions of a map that peak high enough, highest first, without specks and strips.

    Args:
        anomaly_map: (height, width).
        cells: of the grid of attention.
        settings: `region_threshold` and `region_peak`.
    """
    cell = anomaly_map.size / cells
    found = [
        region
        for region in regions_of(anomaly_map, settings.region_threshold)
        if region.score > np.float32(settings.region_peak)
        and region.area >= SPECK * cell
        and min(region.box[2:]) >= STRIP * math.sqrt(cell)
    ]
    return sorted(found, key=lambda region: -region.score)


def _distance(seen: Trace | Crop, settings: Settings) -> Tensor | None:
    return seen.feature_distance if settings.feature_distance else None


def _crops(trace: Trace, settings: Settings) -> Sequence[Crop]:
    return trace.crops[: settings.crops]


def _phrases(trace: Trace, reasoning: ScoredReasoning) -> list[tuple[str, list[int]]]:
    """Return the phrases of the reasoning that speak of a defect, with indices of their tokens."""
    start, end = reasoning.response.reasoning
    text = trace.text[start:end]
    ends = [trace.token_spans[token][1] - start for token in reasoning.tokens]
    return [
        (text[first:last], [index for index, stop in enumerate(ends) if first < stop <= last])
        for first, last in fault_phrases(text)
    ]


def _reasoning_tokens(trace: Trace, reasoning: ScoredReasoning) -> list[ReasoningToken]:
    """Return the tokens with their characters in the stripped explanation."""
    start, end = reasoning.response.reasoning
    text = trace.text[start:end]
    start += len(text) - len(text.lstrip())
    length = len(text.strip())
    scores = reasoning.scores
    return [
        ReasoningToken(
            text=trace.text[first:last],
            start=min(max(0, first - start), length),
            end=min(max(0, last - start), length),
            S_T=S_T,
            S_I=S_I,
            selected=selected,
            weight=weight,
        )
        for (first, last), S_T, S_I, selected, weight in zip(
            (trace.token_spans[token] for token in reasoning.tokens),
            scores.semantic_relevance.tolist(),
            scores.concentration.tolist(),
            scores.selected.tolist(),
            scores.weights.tolist(),
            strict=True,
        )
    ]
