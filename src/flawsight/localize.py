"""Trace → inspection, without a model: token scores → map → regions, each with its words."""

import math
import time
from dataclasses import replace

import numpy as np
import torch
from PIL.Image import Image

from .inspection import FloatArray, Glance, Inspection, ReasoningToken, Trace
from .mllm.contradiction import contradicts, fault_phrases
from .mllm.response import answer_score, parse_response
from .real.anomaly_map import HALF, aggregate, density, upsample
from .real.regions import regions_of, tie_words
from .real.select import reasoning_rows, select_tokens
from .refine.attention_prior import Looks
from .refine.feature_distance import weigh
from .refine.guided_filter import follow_edges
from .refine.merge_crops import merge, merge_scores
from .refine.sinks import relative, sink_share
from .settings import Settings

# Of a grid cell, and of its side: a region that is smaller is a tip of the map that barely reaches
# the threshold, and one that is narrower lies along the border of a part.
SPECK, STRIP = 0.25, 0.5


def inspect_trace(
    trace: Trace,
    image_size: tuple[int, int],
    settings: Settings,
    image: str | None = None,
    generate_seconds: float = 0.0,
    threshold: float | None = None,
    looks: Looks | None = None,
    photo: Image | None = None,
) -> Inspection:
    """Turn what the model said and looked at into an Inspection. No model is needed.

    Args:
        trace: of one response.
        image_size: (height, width) of the image in pixels.
        settings: of ReAL.
        image: where the image came from.
        generate_seconds: what the trace cost.
        threshold: see `Inspector.from_pretrained`.
        looks: of the model, for `settings.relative` and `sink_share`.
        photo: the image itself, for `settings.follow_edges`; None leaves that out.

    Raises:
        AnswerError: if the response holds no Yes or No.
    """
    began = time.perf_counter()
    response = parse_response(trace.text)
    start, end = response.reasoning
    reasoning, rows, eligible = reasoning_rows(trace, response.reasoning, settings)
    words = [trace.text[slice(*trace.token_spans[index])] for index in reasoning]
    maps = trace.image_attention[rows]
    scores = select_tokens(
        maps,
        trace.question_attention[rows],
        trace.anomaly_tokens,
        eligible,
        settings,
    )
    pred_score = answer_score(trace, response)
    if settings.score_crops:
        closer = [glance.score for glance in trace.glances[: settings.crops]]
        pred_score = merge_scores(pred_score, closer)
    attention = aggregate(maps, scores.kept, scores.weights)
    usual = None if looks is None else looks.usual(settings.layers, settings.heads)
    anomaly_map = map_of(attention, trace, image_size, settings, usual).numpy()
    if settings.scale_by_score:
        anomaly_map = anomaly_map * np.float32(pred_score)
    # Before edges are followed, along which a region would fall into pieces.
    found = regions_of(anomaly_map, settings.region_threshold)
    cell = anomaly_map.size / attention.numel()
    suspect = (
        one
        for one in found
        if one.score > np.float32(settings.region_peak)
        and one.area >= SPECK * cell
        and min(one.box[2:]) >= STRIP * math.sqrt(cell)
    )
    regions = sorted(suspect, key=lambda one: -one.score)
    map_peak = float(anomaly_map.max())
    if settings.follow_edges and photo is not None:
        rare = _rarity(trace, settings)
        cells = (attention if rare is None else rare).numel()
        anomaly_map = follow_edges(anomaly_map, _brightness(photo), cells)
    explanation = trace.text[start:end]
    spans = [trace.token_spans[index] for index in reasoning]
    told = [
        (
            explanation[first:last],
            [i for i, span in enumerate(spans) if first < span[1] - start <= last],
        )
        for first, last in fault_phrases(explanation)
    ]
    stripped = explanation.strip()
    lead = len(explanation) - len(explanation.lstrip())
    return Inspection(
        image=image,
        image_size=image_size,
        pred_label=response.answer == "Yes" if threshold is None else pred_score > threshold,
        pred_score=pred_score,
        anomaly_map=anomaly_map,
        answer=response.answer,
        explanation=stripped,
        contradiction=contradicts(explanation, response.answer),
        tokens=tuple(
            ReasoningToken(
                text=word,
                start=min(max(0, trace.token_spans[index][0] - start - lead), len(stripped)),
                end=min(max(0, trace.token_spans[index][1] - start - lead), len(stripped)),
                S_T=S_T,
                S_I=S_I,
                kept=kept,
                weight=weight,
            )
            for index, word, S_T, S_I, kept, weight in zip(
                reasoning,
                words,
                scores.semantic_relevance.tolist(),
                scores.concentration.tolist(),
                scores.kept.tolist(),
                scores.weights.tolist(),
                strict=True,
            )
        ),
        token_maps=maps.numpy(),
        timings={"generate": generate_seconds, "localize": time.perf_counter() - began},
        map_peak=map_peak,
        sink_share=None if usual is None else sink_share(density(attention), usual),
        regions=tie_words(regions, maps.numpy(), told),
    )


def _rarity(seen: Trace | Glance, settings: Settings) -> torch.Tensor | None:
    return seen.rarity if settings.rarity else None


def _brightness(photo: Image) -> FloatArray:
    """Return a photo, scaled down to 256 pixels where it is larger, as (h, w) in [0, 1]."""
    gray = photo.convert("L")
    gray.thumbnail((256, 256))
    return np.asarray(gray, np.float32) / np.float32(255)


def map_of(
    attention: torch.Tensor,
    trace: Trace,
    image_size: tuple[int, int],
    settings: Settings,
    usual: torch.Tensor | None = None,
) -> torch.Tensor:
    """Turn A_RDAM into the image's map, with the steps beyond the paper that the settings name.

    Args:
        attention: (grid_h, grid_w) A_RDAM.
        trace: whose closer looks are merged, `settings.crops` at most.
        image_size: (height, width).
        settings: `relative`, `rarity` and `crops`.
        usual: (h, w) density on good images; None leaves `relative` out.

    Returns:
        (height, width) in [0, 1).
    """
    parts = trace.glances[: settings.crops]
    if settings.relative and usual is not None:
        attention = relative(density(attention), usual)
        parts = tuple(
            replace(part, attention=relative(density(part.attention), usual)) for part in parts
        )
    whole = weigh(attention, _rarity(trace, settings))
    if not parts:
        return upsample(whole / (whole + HALF), image_size)
    looks = [
        (part.box, weigh(part.attention, _rarity(part, settings)), part.score) for part in parts
    ]
    merged = merge(whole, looks, image_size)
    return merged / (merged + HALF)
