"""Crops: where they lie, how they are replayed, and how they count in map and score."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flawsight.inspection import Crop, Trace
from flawsight.inspector import Inspector
from flawsight.localize import localize
from flawsight.mllm.load import DEFAULT_MODEL, MLLM, load_mllm
from flawsight.mllm.replay import replay
from flawsight.real.anomaly_map import density
from flawsight.refine.attention_prior import AttentionPrior, divide_by_prior
from flawsight.refine.crops import inspect_crops, merge_crops, merge_scores, suspect_crops
from flawsight.runs.trace_store import load_trace, save_trace
from flawsight.settings import PRESETS, Settings
from helpers.bundled import FEW_PAPER, FEW_TOKENS
from helpers.checkpoints import photo
from helpers.generating import generate
from helpers.reference import assert_same
from helpers.traces import RESPONSE, make_trace

PAPER = PRESETS["paper"]


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.integers(0, 6),
    st.floats(0.05, 1),
    st.integers(0, 99),
)
def test_crops_lie_inside_and_each_holds_what_is_densest_outside_the_others(
    size: tuple[int, int], grid: tuple[int, int], count: int, share: float, seed: int
) -> None:
    height, width = size
    density = torch.rand(grid, generator=torch.Generator().manual_seed(seed)) + 0.1
    middles = [
        (int((row + 0.5) * height / grid[0]), int((column + 0.5) * width / grid[1]), float(value))
        for row, line in enumerate(density)
        for column, value in enumerate(line)
    ]
    crops = suspect_crops(density, size, count, share)
    assert len(crops) == len(set(crops)) <= count
    for left, top, w, h in crops:
        assert (w, h) == (max(1, round(share * width)), max(1, round(share * height)))
        assert 0 <= left <= width - w
        assert 0 <= top <= height - h
        outside = [m for m in middles if not top <= m[0] < top + h or not left <= m[1] < left + w]
        assert max(middles, key=lambda m: m[2]) not in outside
        middles = outside
    if len(crops) < count:
        assert not middles


def test_a_crop_is_centred_on_its_place_or_moved_inside() -> None:
    density = torch.ones(10, 10)
    density[5, 5] = 9
    density[9, 0] = 5
    assert suspect_crops(density, (100, 100), 2, 0.4) == [(35, 35, 40, 40), (0, 60, 40, 40)]
    assert suspect_crops(density, (100, 100), 3, 1.0) == [(0, 0, 100, 100)]


def test_merging_is_a_mean_inside_crops() -> None:
    whole = torch.full((3, 3), 2.0)
    inside = [
        ((0, 0, 10, 10), torch.full((2, 2), 4.0), 0.5),
        ((0, 0, 10, 5), torch.ones(1, 1), 1.0),
    ]
    merged = merge_crops(whole, inside, (20, 20))
    assert merged[2, 2] == pytest.approx((2 + (4 * 1 + 1 * 2) / 2) / 2)
    assert merged[8, 8] == pytest.approx((2 + 4) / 2)
    assert merged[15, 15] == 2
    torch.testing.assert_close(merge_crops(whole, [], (20, 20)), torch.full((20, 20), 2.0))


def test_scores_of_crops_are_merged_as_log_odds() -> None:
    # Odds of 1 and, on average over the crops, of 100: together 10.
    assert merge_scores(0.5, [10 / 11, 1000 / 1001]) == pytest.approx(10 / 11)
    assert merge_scores(0.3, []) == 0.3


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_a_merged_score_lies_between_and_is_fair_to_both_answers(
    whole: float, crops: list[float]
) -> None:
    merged = merge_scores(whole, crops)
    assert min(whole, *crops) - 1e-9 <= merged <= max(whole, *crops) + 1e-9
    mirrored = merge_scores(1 - whole, [1 - crop for crop in crops])
    assert mirrored == pytest.approx(1 - merged, abs=1e-4)


def test_crops_count_in_the_score_only_if_asked_and_never_in_the_answer() -> None:
    plain = make_trace(RESPONSE)
    inside = torch.ones(3, 3) / 9
    crops = tuple(Crop((0, 0, 20, 20), inside, score) for score in (0.01, 0.02, 1.0))
    trace = replace(plain, crops=crops)
    first = localize(plain, (30, 40), PAPER)
    assert localize(trace, (30, 40), replace(PAPER, crops=2)).pred_score == first.pred_score
    settings = replace(PAPER, crops=2, score_crops=True)
    merged = localize(trace, (30, 40), settings)
    assert merged.pred_score == merge_scores(first.pred_score, [0.01, 0.02]) < first.pred_score
    assert (merged.pred_label, merged.answer) == (first.pred_label, first.answer)
    assert not localize(trace, (30, 40), settings, threshold=first.pred_score).pred_label
    assert localize(plain, (30, 40), settings).pred_score == first.pred_score


@pytest.mark.parametrize(("share", "tokens"), [(1.0, FEW_TOKENS), (0.44, 16), (1e-9, 1)])
def test_the_response_to_the_whole_is_replayed_on_crops(
    tmp_path: Path, share: float, tokens: int
) -> None:
    mllm = load_mllm(DEFAULT_MODEL)
    images = [photo(120, 120), photo(80, 160, seed=3)]
    settings = replace(FEW_PAPER, crops=2, crop_token_share=share)
    first = generate(mllm, images, settings)
    traces = inspect_crops(mllm, images, first, settings)
    for image, trace, plain in zip(images, traces, first, strict=True):
        assert_same(replace(trace, crops=()), plain)
        assert len(trace.crops) == 2
        left, top, width, height = trace.crops[0].box
        cut = image.crop((left, top, left + width, top + height))
        [alone] = replay(mllm, [cut], [trace.text], Settings(image_tokens=tokens))
        assert trace.crops[0].attention.shape == alone.image_attention.shape[1:]
        assert trace.crops[0].score == pytest.approx(alone.answer_score, abs=1e-4)
        save_trace(tmp_path / "trace.npz", trace)
        back = load_trace(tmp_path / "trace.npz")
        assert back is not None
        assert [crop.box for crop in back.crops] == [g.box for g in trace.crops]
        torch.testing.assert_close(back.crops[1].attention, trace.crops[1].attention)
    inspection = Inspector(mllm, settings)(images[0])
    assert inspection.pred_label == (inspection.answer == "Yes")
    assert inspection.anomaly_map.shape == (120, 120)
    assert 0 <= inspection.anomaly_map.min() <= inspection.anomaly_map.max() < 1


def test_if_crops_count_the_verdict_goes_by_the_score() -> None:
    mllm = load_mllm(DEFAULT_MODEL)
    settings = replace(FEW_PAPER, crops=2, score_crops=True)
    photos = [photo(60, 90, seed=seed) for seed in range(12)]
    by_answer, by_score = Inspector(mllm, FEW_PAPER), Inspector(mllm, settings)
    assert (by_answer.threshold, by_score.threshold) == (None, 0.5)
    assert Inspector(mllm, settings, threshold=0.7).threshold == 0.7
    for inspection in by_score(photos):
        assert inspection.pred_label == (inspection.pred_score > 0.5)
    for inspection in by_answer(photos):
        assert inspection.pred_label == (inspection.answer == "Yes")


def test_crops_lie_where_the_attention_prior_says_only_if_it_is_on(tiny_mllm: MLLM) -> None:
    images = [photo(252, 140)]
    replies = [replace(make_trace(RESPONSE, (9, 5)), text="".join(RESPONSE))]
    values = torch.ones(15, 15)
    values[:8] = 9.0
    prior = AttentionPrior(values, None, 1, tiny_mllm.sha256)
    boxes = []
    for on in (False, True):
        settings = replace(PAPER, crops=1, attention_prior=on, image_tokens=None)
        inspector = Inspector(tiny_mllm, settings, prior=prior)
        assert (inspector.prior is not None) == on
        used = None if inspector.prior is None else inspector.prior.density
        [trace] = inspect_crops(tiny_mllm, images, replies, settings, used)
        assert isinstance(trace, Trace)
        boxes.append(trace.crops[0].box)
        attention = trace.image_attention[2:6].mean(0)
        suspect = density(divide_by_prior(attention, used))
        assert boxes[-1] == suspect_crops(suspect, (252, 140), 1, settings.crop_share)[0]
    assert boxes[0] != boxes[1]
