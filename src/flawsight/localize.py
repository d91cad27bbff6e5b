"""Trace → Inspection in four steps, without a model: select, aggregate, refine, regions."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from .frame import Frame, in_whole, masked
from .inspection import (
    Crop,
    FloatArray,
    GoodPicture,
    Inspection,
    ReasoningToken,
    Region,
    RegionRule,
    Trace,
)
from .mllm.contradiction import disagreements, fault_phrases
from .real.anomaly_map import aggregate, density
from .real.regions import in_photo, peak_region, regions_of, tie_phrases
from .real.token_selection import ScoredReasoning, select
from .reference.compare import multiply_by_reference, reference_score, within
from .reference.good_places import GoodPatches, good_place
from .refine.attention_prior import divide_by_prior, sink_share
from .refine.crops import mean_score, merge_scores
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
    good: GoodPatches | None = None,
    photo: Image | None = None,
    frame: Frame | None = None,
    image: str | None = None,
    trace_seconds: float = 0.0,
    warnings: tuple[str, ...] = (),
) -> Inspection:
    """Turn a response with its attention into an Inspection.

    Args:
        trace: of one response.
        image_size: (height, width) of what the model saw, in pixels.
        settings: of ReAL and the steps beyond it.
        threshold: see `Inspector`.
        region_rule: None is that of the settings.
        prior: (h, w) density on normal images; None leaves `attention_prior` out.
        good: where the patches of the reference lie, which the trace was compared with.
        photo: what the model saw, for `guided_filter`; None leaves that out.
        frame: where that lies in the image; None if it is the whole.
        image: where the image came from.
        trace_seconds: time spent on the trace.
        warnings: of the photo's reader.

    Raises:
        AnswerError: if the response is empty.
    """
    began = time.perf_counter()
    reasoning = select(trace, settings) if trace.asked else None
    attention = _attention(trace, reasoning)
    layers = refine(attention, trace, image_size, settings, prior)
    anomaly_map = unfiltered = masked(map_of_layers(layers), frame)
    if settings.guided_filter and photo is not None:
        # Regions are drawn in the map before: along edges they would fall into pieces.
        rows, columns = (int(cells) for cells in layers[4:6])
        anomaly_map = guided_filter(anomaly_map, brightness(photo), rows * columns)
    evidence = _evidence(trace, settings)
    pred_score = evidence["reference"] if "reference" in evidence else _score(trace, settings)
    answer: str | None = None
    explanation, tokens = "", tuple[ReasoningToken, ...]()
    if reasoning is not None:
        answer = reasoning.response.answer
        explanation = trace.text[slice(*reasoning.response.reasoning)].strip()
        tokens = tuple(_reasoning_tokens(trace, reasoning))
    pred_label = answer == "Yes" if threshold is None else pred_score > threshold
    token_maps = (trace.image_attention if reasoning is None else reasoning.attention).numpy()
    rule = rule_of(settings) if region_rule is None else region_rule
    spans = [(token.start, token.end) for token in tokens]
    regions = draw_regions(pred_label, unfiltered, token_maps, explanation, spans, rule)
    nearest = np.zeros((0, 0, 3), np.float32)
    if good is not None and (index := trace.patches.nearest_good) is not None:
        nearest = good.centres[index.numpy()]
    pictures = good.pictures if good is not None else ()
    return Inspection(
        image=image,
        image_size=image_size if frame is None else frame.image_size,
        pred_label=pred_label,
        pred_score=pred_score,
        anomaly_map=in_whole(masked(anomaly_map, frame), frame),
        answer=answer,
        answer_forced=trace.answer_forced,
        explanation=explanation,
        disagreements=disagreements(pred_label, answer, explanation),
        tokens=tokens,
        token_maps=token_maps,
        timings={"trace": trace_seconds, "localize": time.perf_counter() - began},
        map_peak=float(unfiltered.max()),
        regions=in_photo(with_good_places(regions, unfiltered, nearest, pictures), frame),
        nearest_good=nearest,
        good_pictures=pictures,
        sink_share=None if prior is None or not trace.asked else sink_share(attention, prior),
        warnings=warnings,
        region_rule=rule,
        map_layers=layers,
        evidence=evidence,
        frame=frame,
    )


def _attention(trace: Trace, reasoning: ScoredReasoning | None) -> Tensor:
    """Return A_RDAM, which is flat if the model was not asked."""
    if reasoning is None:
        return torch.ones(trace.image_attention.shape[1:])
    scores = reasoning.scores
    return aggregate(reasoning.attention, scores.selected, scores.weights)


def _evidence(trace: Trace, settings: Settings) -> dict[str, float]:
    """Return what speaks for a defect, each as a score; see `Inspection.evidence`."""
    found: dict[str, float] = {}
    if trace.asked:
        found["words"] = trace.answer_score
        if crops := _crop_scores(trace, settings):
            found["crops"] = mean_score(crops)
    if (score := reference_score(trace.patches)) is not None:
        found["reference"] = score
    return found


def _score(trace: Trace, settings: Settings) -> float:
    """Return P(Yes) by all answers that count."""
    return merge_scores(trace.answer_score, _crop_scores(trace, settings))


def _crop_scores(trace: Trace, settings: Settings) -> list[float]:
    if not settings.score_crops:
        return []
    return [crop.score for crop in _crops(trace, settings)]


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
        trace: its crops are merged, `settings.crops` at most. With distances from good patches,
            all is multiplied by them; if the model was not asked, they alone count.
        image_size: (height, width).
        settings: `feature_distance` and `crops`.
        prior: (h, w) density on normal images; None leaves `attention_prior` out.

    Returns:
        See refine/map_layers.py; their map is on one scale for all images.
    """

    far = trace.patches.reference_distance

    def refined(attention: Tensor, seen: Trace | Crop) -> Tensor:
        if not trace.asked:
            return density(attention)
        return multiply_by_distance(divide_by_prior(attention, prior), _distance(seen, settings))

    whole = multiply_by_reference(refined(attention, trace), far)
    inside = []
    for crop in _crops(trace, settings):
        dense = refined(crop.attention, crop)
        near = within(far, crop.box, image_size, (dense.shape[0], dense.shape[1]))
        inside.append((crop.box, multiply_by_reference(dense, near), crop.score))
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
        unfiltered = masked(map_of_layers(inspection.map_layers), inspection.frame)
        spans = [(one.start, one.end) for one in inspection.tokens]
        regions = draw_regions(
            pred_label, unfiltered, inspection.token_maps, inspection.explanation, spans, rule
        )
        regions = with_good_places(
            regions, unfiltered, inspection.nearest_good, inspection.good_pictures
        )
        regions = in_photo(regions, inspection.frame)
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


def with_good_places(
    regions: Sequence[Region],
    anomaly_map: FloatArray,
    nearest: FloatArray,
    pictures: tuple[GoodPicture, ...],
) -> tuple[Region, ...]:
    """Return regions with the places in good photos that they should look like.

    Args:
        regions: of an image.
        anomaly_map: (height, width), which they were found in.
        nearest: `Inspection.nearest_good`; if it is empty, there are no places.
        pictures: of the reference.
    """
    if not nearest.size:
        return tuple(regions)
    return tuple(
        replace(region, good=good_place(region, anomaly_map, nearest, pictures))
        for region in regions
    )


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
    return seen.patches.feature_distance if settings.feature_distance else None


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
