"""Trace → Inspection in four steps, without a model: select, aggregate, refine, regions."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL.Image import Image
from torch import Tensor

from .inspection import (
    Crop,
    FloatArray,
    Inspection,
    ReasoningToken,
    Region,
    RegionRule,
    Trace,
)
from .mllm.contradiction import disagreements, fault_phrases
from .real.anomaly_map import aggregate
from .real.regions import peak_region, regions_of, tie_phrases
from .real.token_selection import ScoredReasoning, select
from .refine.attention_prior import divide_by_prior, sink_share
from .refine.crops import merge_scores
from .refine.feature_distance import multiply_by_distance
from .refine.guided_filter import brightness, guided_filter
from .refine.map_layers import map_of_layers, pack_layers
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
    region_rule: RegionRule | None = None,
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
        region_rule: None is that of the settings.
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
    layers = refine(attention, trace, image_size, settings, prior)
    anomaly_map = unfiltered = map_of_layers(layers)
    if settings.guided_filter and photo is not None:
        # Regions are drawn in the map before: along edges they would fall into pieces.
        distance = _distance(trace, settings)
        cells = (attention if distance is None else distance).numel()
        anomaly_map = guided_filter(anomaly_map, brightness(photo), cells)
    pred_score = trace.answer_score
    if settings.score_crops:
        pred_score = merge_scores(pred_score, [crop.score for crop in _crops(trace, settings)])
    answer = reasoning.response.answer
    pred_label = answer == "Yes" if threshold is None else pred_score > threshold
    explanation = trace.text[slice(*reasoning.response.reasoning)].strip()
    tokens = tuple(_reasoning_tokens(trace, reasoning))
    token_maps = reasoning.attention.numpy()
    rule = rule_of(settings) if region_rule is None else region_rule
    spans = [(token.start, token.end) for token in tokens]
    regions = draw_regions(pred_label, unfiltered, token_maps, explanation, spans, rule)
    return Inspection(
        image=image,
        image_size=image_size,
        pred_label=pred_label,
        pred_score=pred_score,
        anomaly_map=anomaly_map,
        answer=answer,
        answer_forced=trace.answer_forced,
        explanation=explanation,
        disagreements=disagreements(pred_label, answer, explanation),
        tokens=tokens,
        token_maps=token_maps,
        timings={"trace": trace_seconds, "localize": time.perf_counter() - began},
        map_peak=float(unfiltered.max()),
        regions=regions,
        sink_share=None if prior is None else sink_share(attention, prior),
        warnings=warnings,
        region_rule=rule,
        map_layers=layers,
    )


def refine(
    attention: Tensor,
    trace: Trace,
    image_size: tuple[int, int],
    settings: Settings,
    prior: Tensor | None = None,
) -> FloatArray:
    """Turn A_RDAM into the layers of the map, with the steps beyond the paper in the settings.

    Args:
        attention: (grid_h, grid_w) A_RDAM.
        trace: its crops are merged, `settings.crops` at most.
        image_size: (height, width).
        settings: `feature_distance` and `crops`.
        prior: (h, w) density on normal images; None leaves `attention_prior` out.

    Returns:
        See refine/map_layers.py; their map is on one scale for all images.
    """

    def refined(attention: Tensor, seen: Trace | Crop) -> Tensor:
        return multiply_by_distance(divide_by_prior(attention, prior), _distance(seen, settings))

    whole = refined(attention, trace)
    crops = _crops(trace, settings)
    inside = [(crop.box, refined(crop.attention, crop), crop.score) for crop in crops]
    return pack_layers(whole, inside, image_size)


def rule_of(settings: Settings, calibrated: bool = False) -> RegionRule:
    """Return the rule of regions in settings, whose threshold may be a calibration's."""
    return RegionRule(
        settings.region_threshold, settings.region_peak, settings.regions_of_good, calibrated
    )


def judged(inspection: Inspection, pred_label: bool) -> Inspection:
    """Return an inspection with another verdict; disagreements and regions follow it."""
    if pred_label == inspection.pred_label:
        return inspection
    regions = inspection.regions
    if (rule := inspection.region_rule) is not None and len(inspection.map_layers):
        regions = draw_regions(
            pred_label, map_of_layers(inspection.map_layers), inspection.token_maps,
            inspection.explanation, [(one.start, one.end) for one in inspection.tokens], rule,
        )  # fmt: skip
    return replace(
        inspection,
        pred_label=pred_label,
        disagreements=disagreements(pred_label, inspection.answer, inspection.explanation),
        regions=regions,
    )


def draw_regions(
    pred_label: bool,
    anomaly_map: FloatArray,
    token_maps: FloatArray,
    explanation: str,
    spans: Sequence[tuple[int, int]],
    rule: RegionRule,
) -> tuple[Region, ...]:
    """Return the regions of an image by its verdict, each with its phrases.

    Args:
        pred_label: the verdict.
        anomaly_map: (height, width), before the guided filter.
        token_maps: (R, grid_h, grid_w); they count in half precision, as they are stored.
        explanation: the reasoning.
        spans: [start, end) characters of its R tokens; those between words are empty.
        rule: see `RegionRule`.
    """
    if not pred_label and not rule.of_good:
        return ()
    found = suspect_regions(anomaly_map, math.prod(token_maps.shape[1:]), rule)
    if pred_label and not found and (around := peak_region(anomaly_map, rule.threshold)):
        found = [around]
    phrases = [
        (
            explanation[first:last],
            [i for i, (start, end) in enumerate(spans) if start < end and first < end <= last],
        )
        for first, last in fault_phrases(explanation)
    ]
    return tie_phrases(found, token_maps.astype(np.float16).astype(np.float32), phrases)


def suspect_regions(anomaly_map: FloatArray, cells: int, rule: RegionRule) -> list[Region]:
    """Return the regions of a map that peak high enough, highest first, without specks and strips.

    Args:
        anomaly_map: (height, width).
        cells: of the grid of attention.
        rule: its threshold and peak.
    """
    cell = anomaly_map.size / cells
    found = [
        region
        for region in regions_of(anomaly_map, rule.threshold)
        if region.score > np.float32(rule.peak)
        and region.area >= SPECK * cell
        and min(region.box[2:]) >= STRIP * math.sqrt(cell)
    ]
    return sorted(found, key=lambda region: -region.score)


def _distance(seen: Trace | Crop, settings: Settings) -> Tensor | None:
    return seen.feature_distance if settings.feature_distance else None


def _crops(trace: Trace, settings: Settings) -> Sequence[Crop]:
    return trace.crops[: settings.crops]


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
