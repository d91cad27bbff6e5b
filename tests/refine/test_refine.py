"""The steps beyond the paper: what each does, and that preset `paper` knows none of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flawsight.errors import (
    AnswerError,
    CalibrationError,
    FlawsightError,
    ModelError,
    SettingsError,
)
from flawsight.inspection import Crop, Trace
from flawsight.inspector import Inspector
from flawsight.localize import inspect_trace
from flawsight.mllm.ask_again import ask_again
from flawsight.mllm.generate import generate, replay
from flawsight.mllm.load import DEFAULT_MODEL, MLLM, load_mllm
from flawsight.mllm.response import answer_score, parse_response
from flawsight.real.anomaly_map import HALF, upsample
from flawsight.real.heads import best_heads, head_agreement
from flawsight.real.select import select_tokens
from flawsight.refine.attention_prior import Looks, encode_looks, load_looks, measure
from flawsight.refine.crops import look
from flawsight.refine.guided_filter import guided_filter
from flawsight.refine.merge_crops import merge, merge_scores, suspect_parts
from flawsight.refine.sinks import relative, sink_share, usual_on
from flawsight.runs.trace_store import load_trace, save_trace
from flawsight.settings import PRESETS, Settings
from helpers.checkpoints import photo
from helpers.reference import assert_same
from helpers.traces import RESPONSE, make_trace

PAPER = PRESETS["paper"]


def some_looks(grid: int = 15, sha256: str = "a") -> Looks:
    random = torch.Generator().manual_seed(1)
    good = torch.rand(2, 3, grid, grid, generator=random) + 0.5
    return Looks(((0, 1), (1, 2)), good, torch.rand(2, 3, generator=random), (4, 5), sha256)


def test_preset_paper_gives_the_paper_s_map_whatever_is_known_beside_the_trace() -> None:
    trace = make_trace(RESPONSE)
    rows = torch.arange(2, 6)
    scores = select_tokens(
        trace.image_attention[rows],
        trace.question_attention[rows],
        trace.anomaly_tokens,
        torch.ones(4, dtype=torch.bool),
        PAPER,
    )
    weights = scores.weights * scores.kept
    grid = (weights[:, None, None] * trace.image_attention[rows]).sum(0) / weights.sum()
    expected = upsample((grid / grid.mean()) / (grid / grid.mean() + HALF), (30, 40))
    plain = inspect_trace(trace, (30, 40), PAPER)
    torch.testing.assert_close(torch.from_numpy(plain.anomaly_map), expected)
    part = Crop((0, 0, 20, 20), torch.rand(3, 3), 0.9, rarity=torch.rand(6, 6))
    seen = replace(trace, glances=(part,), rarity=torch.rand(6, 8))
    both = inspect_trace(seen, (30, 40), PAPER, looks=some_looks())
    assert np.array_equal(both.anomaly_map, plain.anomaly_map)
    assert both.tokens == plain.tokens
    steps = (PAPER.relative, PAPER.model_heads, PAPER.crops, PAPER.score_crops, PAPER.reask)
    assert not any((*steps, PAPER.rarity, PAPER.guided_filter, PAPER.scale_by_score))


# --- Sinks


def test_a_sink_on_good_images_is_no_peak_any_more() -> None:
    usual = torch.ones(15, 15)
    usual[0, 0] = 40.0
    density = usual_on(usual, (15, 15)).clone()
    density[7, 7] *= 4
    seen = relative(density, usual)
    assert divmod(int(density.argmax()), 15) == (0, 0)
    assert divmod(int(seen.argmax()), 15) == (7, 7)
    assert seen[7, 7] == pytest.approx(4, rel=1e-4)
    assert sink_share(density, usual) == pytest.approx(float(density[0, 0] / density.sum()))
    assert sink_share(density, torch.ones(15, 15)) == 0


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(0, 5))
def test_what_is_usual_has_mean_one_on_any_grid(grid: tuple[int, int], seed: int) -> None:
    usual = torch.rand(15, 15, generator=torch.Generator().manual_seed(seed)) + 0.1
    assert usual_on(usual, grid).mean() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(relative(usual_on(usual, grid), usual), torch.ones(grid))


# --- Heads


def test_heads_that_look_where_others_look_are_chosen() -> None:
    random = torch.Generator().manual_seed(0)
    maps = torch.rand(20, 6, 100, generator=random)
    for image in maps:
        image[:3, torch.randint(100, (), generator=random)] = 9.0  # three see the defect
    agreement = head_agreement(maps)
    assert best_heads(agreement.view(2, 3), 0.5) == ((0, 0), (0, 1), (0, 2))
    assert best_heads(agreement.view(2, 3), 0.01) in (((0, 0),), ((0, 1),), ((0, 2),))


def test_agreement_is_the_jaccard_index_of_the_top_cells() -> None:
    maps = torch.rand(3, 4, 40, generator=torch.Generator().manual_seed(0))
    found = head_agreement(maps)
    for head in range(4):
        indices = []
        for image in maps:
            others = torch.stack([image[k] for k in range(4) if k != head]).mean(0)
            own, theirs = (
                set(m.argsort(descending=True)[:2].tolist()) for m in (image[head], others)
            )
            indices.append(len(own & theirs) / len(own | theirs))
        assert found[head] == pytest.approx(np.mean(indices))


def test_looks_come_back_and_belong_to_their_weights(tmp_path: Path) -> None:
    looks = some_looks()
    (tmp_path / "looks.npz").write_bytes(encode_looks(looks))
    back = load_looks(tmp_path, "a")
    assert back is not None
    assert (back.heads, back.images, back.sha256) == (looks.heads, looks.images, looks.sha256)
    torch.testing.assert_close(back.good, looks.good)
    torch.testing.assert_close(back.usual(None, ((1, 2),)), looks.good[1, 2])
    torch.testing.assert_close(back.usual(None, None), looks.good.mean((0, 1)))
    with pytest.raises(ModelError, match="other weights"):
        load_looks(tmp_path, "b")
    (tmp_path / "looks.npz").write_bytes(b"broken")
    with pytest.raises(ModelError, match="calibrate --heads"):
        load_looks(tmp_path, "a")
    assert load_looks(tmp_path / "elsewhere", "a") is None


def test_heads_need_good_and_defective_images() -> None:
    with pytest.raises(CalibrationError, match="0 good and 1 defective"):
        measure([(True, torch.rand(1, 2, 3, 3))], 0.5, "a")


def test_heads_of_a_replay_average_to_its_attention(tiny_mllm: MLLM) -> None:
    images = [photo(90, 60), photo(60, 120, seed=1)]
    texts = [trace.text for trace in generate(tiny_mllm, images, PAPER)]
    for trace in replay(tiny_mllm, images, texts, PAPER, keep_heads=True):
        assert trace.head_attention is not None
        torch.testing.assert_close(trace.head_attention.mean((0, 1)), trace.image_attention)


# --- A second look


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.integers(0, 6),
    st.floats(0.05, 1),
    st.integers(0, 99),
)
def test_parts_lie_inside_and_each_holds_what_is_densest_outside_the_others(
    size: tuple[int, int], grid: tuple[int, int], count: int, share: float, seed: int
) -> None:
    height, width = size
    density = torch.rand(grid, generator=torch.Generator().manual_seed(seed)) + 0.1
    middles = [
        (int((row + 0.5) * height / grid[0]), int((column + 0.5) * width / grid[1]), float(value))
        for row, line in enumerate(density)
        for column, value in enumerate(line)
    ]
    parts = suspect_parts(density, size, count, share)
    assert len(parts) == len(set(parts)) <= count
    for left, top, w, h in parts:
        assert (w, h) == (max(1, round(share * width)), max(1, round(share * height)))
        assert 0 <= left <= width - w
        assert 0 <= top <= height - h
        outside = [m for m in middles if not top <= m[0] < top + h or not left <= m[1] < left + w]
        assert max(middles, key=lambda m: m[2]) not in outside
        middles = outside
    if len(parts) < count:
        assert not middles


def test_a_part_is_centred_on_its_place_or_moved_inside() -> None:
    density = torch.ones(10, 10)
    density[5, 5] = 9
    density[9, 0] = 5
    assert suspect_parts(density, (100, 100), 2, 0.4) == [(35, 35, 40, 40), (0, 60, 40, 40)]
    assert suspect_parts(density, (100, 100), 3, 1.0) == [(0, 0, 100, 100)]


def test_merge_is_a_mean_where_parts_were_seen() -> None:
    whole = torch.full((3, 3), 2.0)
    looks = [((0, 0, 10, 10), torch.full((2, 2), 4.0), 0.5), ((0, 0, 10, 5), torch.ones(1, 1), 1.0)]
    merged = merge(whole, looks, (20, 20))
    assert merged[2, 2] == pytest.approx((2 + (4 * 1 + 1 * 2) / 2) / 2)
    assert merged[8, 8] == pytest.approx((2 + 4) / 2)
    assert merged[15, 15] == 2
    torch.testing.assert_close(merge(whole, [], (20, 20)), torch.full((20, 20), 2.0))


def test_scores_of_parts_are_merged_as_log_odds() -> None:
    # Odds of 1 and, on average over the parts, of 100: together 10.
    assert merge_scores(0.5, [10 / 11, 1000 / 1001]) == pytest.approx(10 / 11)
    assert merge_scores(0.3, []) == 0.3


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_a_merged_score_lies_between_and_is_fair_to_both_answers(
    whole: float, parts: list[float]
) -> None:
    merged = merge_scores(whole, parts)
    assert min(whole, *parts) - 1e-9 <= merged <= max(whole, *parts) + 1e-9
    mirrored = merge_scores(1 - whole, [1 - part for part in parts])
    assert mirrored == pytest.approx(1 - merged, abs=1e-4)


def test_parts_count_in_the_score_only_where_asked_and_never_in_the_answer() -> None:
    plain = make_trace(RESPONSE)
    part = torch.ones(3, 3) / 9
    glances = tuple(Crop((0, 0, 20, 20), part, score) for score in (0.01, 0.02, 1.0))
    trace = replace(plain, glances=glances)
    first = inspect_trace(plain, (30, 40), PAPER)
    assert inspect_trace(trace, (30, 40), replace(PAPER, crops=2)).pred_score == first.pred_score
    settings = replace(PAPER, crops=2, score_crops=True)
    merged = inspect_trace(trace, (30, 40), settings)
    assert merged.pred_score == merge_scores(first.pred_score, [0.01, 0.02]) < first.pred_score
    assert (merged.pred_label, merged.answer) == (first.pred_label, first.answer)
    assert not inspect_trace(trace, (30, 40), settings, threshold=first.pred_score).pred_label
    assert inspect_trace(plain, (30, 40), settings).pred_score == first.pred_score


@pytest.mark.parametrize(("share", "tokens"), [(1.0, 225), (0.44, 99), (1e-9, 1)])
def test_parts_are_read_with_the_words_about_the_whole(
    tmp_path: Path, share: float, tokens: int
) -> None:
    mllm = load_mllm(DEFAULT_MODEL)
    images = [photo(120, 120), photo(80, 160, seed=3)]
    settings = replace(PAPER, crops=2, crop_token_share=share)
    first = generate(mllm, images, settings)
    traces = look(mllm, images, settings)
    for image, trace, plain in zip(images, traces, first, strict=True):
        assert_same(replace(trace, glances=()), plain)
        assert len(trace.glances) == 2
        left, top, width, height = trace.glances[0].box
        part = image.crop((left, top, left + width, top + height))
        [alone] = replay(mllm, [part], [trace.text], replace(PAPER, image_tokens=tokens))
        assert trace.glances[0].attention.shape == alone.image_attention.shape[1:]
        response = parse_response(alone.text)
        assert trace.glances[0].score == pytest.approx(answer_score(alone, response), abs=1e-4)
        save_trace(tmp_path / "trace.npz", trace, (image.height, image.width))
        back = load_trace(tmp_path / "trace.npz")
        assert back is not None
        assert [glance.box for glance in back[0].glances] == [g.box for g in trace.glances]
        torch.testing.assert_close(back[0].glances[1].attention, trace.glances[1].attention)
    inspection = Inspector(mllm, settings)(images[0])
    assert inspection.pred_label == (inspection.answer == "Yes")
    assert inspection.anomaly_map.shape == (120, 120)
    assert 0 <= inspection.anomaly_map.min() <= inspection.anomaly_map.max() < 1


def test_where_parts_count_the_verdict_goes_by_the_score() -> None:
    mllm = load_mllm(DEFAULT_MODEL)
    settings = replace(PAPER, crops=2, score_crops=True)
    photos = [photo(60, 90, seed=seed) for seed in range(12)]
    by_answer, by_score = Inspector(mllm, PAPER), Inspector(mllm, settings)
    assert (by_answer.threshold, by_score.threshold) == (None, 0.5)
    assert Inspector(mllm, settings, threshold=0.7).threshold == 0.7
    for inspection in by_score(photos):
        assert inspection.pred_label == (inspection.pred_score > 0.5)
    for inspection in by_answer(photos):
        assert inspection.pred_label == (inspection.answer == "Yes")


@given(
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.integers(1, 30),
    st.integers(0, 99),
)
def test_edges_make_nothing_of_a_flat_map_and_no_new_peak(
    size: tuple[int, int], guide_size: tuple[int, int], cells: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    guide = random.random(guide_size).astype(np.float32)
    flat = guided_filter(np.full(size, 0.2, np.float32), guide, cells)
    np.testing.assert_allclose(flat, 0.2, atol=1e-3)
    anomaly_map = random.random(size).astype(np.float32)
    drawn = guided_filter(anomaly_map, guide, cells)
    assert drawn.shape == size
    assert drawn.dtype == np.float32
    assert anomaly_map.min() <= drawn.min() <= drawn.max() <= anomaly_map.max()


def test_a_blurred_mark_is_drawn_to_the_edge_of_the_part_that_it_marks() -> None:
    guide = np.full((60, 90), 0.3, np.float32)
    guide[:, 45:] = 0.8
    across = np.clip((np.arange(90) - 37) / 16, 0, 1).astype(np.float32)
    blurred = np.tile(0.1 + 0.6 * across, (60, 1))
    drawn = guided_filter(blurred, guide, 24)
    jump = drawn[:, 45] - drawn[:, 44]
    assert np.all(jump > 4 * (blurred[:, 45] - blurred[:, 44]))
    even = guided_filter(blurred, np.full_like(guide, 0.5), 24)
    assert np.all(np.diff(even, axis=1) > -1e-5)


def test_only_the_preset_that_follows_edges_needs_the_photo() -> None:
    trace, photo = make_trace(RESPONSE), Image.effect_noise((40, 30), 90).convert("RGB")
    plain = inspect_trace(trace, (30, 40), PAPER)
    same = inspect_trace(trace, (30, 40), PAPER, photo=photo)
    assert np.array_equal(same.anomaly_map, plain.anomaly_map)
    edges = replace(PAPER, guided_filter=True)
    drawn = inspect_trace(trace, (30, 40), edges, photo=photo)
    assert not np.array_equal(drawn.anomaly_map, plain.anomaly_map)
    without = inspect_trace(trace, (30, 40), edges)
    assert np.array_equal(without.anomaly_map, plain.anomaly_map)


def test_only_what_contradicts_itself_is_asked_about_again() -> None:
    sound = make_trace(["<think>", "It is flawless.", "</think>", "<answer>", "No", "</answer>"])
    torn = make_trace(["<think>", "There is a crack.", "</think>", "<answer>", "No", "</answer>"])
    silent = make_trace(["<think>", "There is a crack."])
    refused = AnswerError("The server is busy.")
    images = [Image.new("RGB", (8, 8), (index, 0, 0)) for index in range(4)]
    asked: list[tuple[int, float, int]] = []

    def ask(again: list[Image.Image], settings: Settings) -> list[Trace | FlawsightError]:
        [image] = again
        asked.append((image.getpixel((0, 0))[0], settings.temperature, settings.seed))
        return [{1: torn, 2: refused, 3: sound}[settings.seed]]

    first = [sound, torn, silent, refused]
    assert ask_again(ask, images, first, Settings()) == first
    assert asked == []
    settled = ask_again(ask, images, first, Settings(reask=3))
    assert settled == [sound, sound, sound, refused]
    assert asked == [(index, 0.7, seed) for index in (1, 2) for seed in (1, 2, 3)]
    assert ask_again(ask, images, first, Settings(reask=2)) == first
    with pytest.raises(SettingsError):
        Settings(reask=-1)


def test_the_looks_of_a_model_name_its_heads(tiny_mllm: MLLM) -> None:
    text = tiny_mllm.model.config.get_text_config()
    good = torch.ones(text.num_hidden_layers, text.num_attention_heads, 15, 15)
    known = replace(tiny_mllm, looks=Looks(((1, 0),), good, good[..., 0, 0], (1, 1), "a"))
    settings = replace(PAPER, model_heads=True)
    assert Inspector(known, settings).settings.heads == ((1, 0),)
    assert Inspector(tiny_mllm, settings).settings.heads is None


@pytest.mark.parametrize(
    "change",
    [
        {"crops": -1},
        {"crop_share": 0.0},
        {"crop_token_share": 1.1},
        {"model_heads": True, "layers": (0,)},
    ],
)
def test_steps_that_make_no_sense_are_refused(change: dict) -> None:
    with pytest.raises(SettingsError):
        Settings(**change)
