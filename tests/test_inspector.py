"""From a hand-made Trace to an Inspection, without a model; what importing the package costs."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import flawsight
from flawsight.errors import AnswerError, ModelError, SettingsError
from flawsight.inspection import Crop, Inspection
from flawsight.inspector import Inspector
from flawsight.localize import localize
from flawsight.mllm.encode import PromptBatch
from flawsight.settings import Settings
from helpers.traces import RESPONSE, make_trace

PLAIN = Settings(tau_t=0.0, tau_i=0.0)


def inspect(pieces: list[str], settings: Settings = PLAIN, **trace_options) -> Inspection:
    return localize(make_trace(pieces, **trace_options), (30, 40), settings)


def token_texts(inspection: Inspection) -> list[str]:
    return [token.text for token in inspection.tokens]


def test_only_tokens_inside_think_are_reasoning():
    assert token_texts(inspect(RESPONSE)) == ["A", " deep", " dent", "."]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["<th", "ink", ">", "A", " dent", "</", "think", ">", "<answer>", "Yes"], ["A", " dent"]),
        (["<think", ">A", " dent", ".</", "think><answer>", "Yes"], [" dent"]),
        (["<think>", "", "A", "", " dent", "</think>", "<answer>", "Yes"], ["A", " dent"]),
        (["<think>", "A", " dent", "<answer>", "Yes"], ["A", " dent"]),
        (["A", " dent", "</think>", "<answer>", "Yes"], ["A", " dent"]),
        (["Yes", ",", " a", " dent"], [" a", " dent"]),
        (["<think>", "</think>", "<answer>", "No"], []),
    ],
)
def test_tokens_across_a_tag_or_without_text_are_no_reasoning(pieces, expected):
    assert token_texts(inspect(pieces)) == expected


def test_the_row_of_a_token_is_the_previous_row_of_the_next():
    trace = make_trace(RESPONSE)
    previous = localize(trace, (30, 40), replace(PLAIN, attention_row="previous"))
    token = localize(trace, (30, 40), replace(PLAIN, attention_row="token"))
    assert np.array_equal(previous.token_maps, trace.image_attention[1:5].numpy())
    assert np.array_equal(token.token_maps, trace.image_attention[2:6].numpy())
    for inspection, first in ((previous, 1), (token, 2)):
        question = trace.question_attention[first : first + 4].tolist()
        expected = [(row[1] + row[3]) / sum(row) for row in question]
        assert [token.S_T for token in inspection.tokens] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pieces", "explanation", "found"),
    [
        (["<think>", "A", " dent", ".", "</think>"], "A dent.", ["A", " dent", "."]),
        (["<think>", " A", " dent", ".", "</think>"], "A dent.", ["A", " dent", "."]),
        (["<think>", "\n\n", "A", " dent", "</think>"], "A dent", ["", "A", " dent"]),
        (["<think>", "A", " dent", ".\n", " ", "\n", "</think>"], "A dent.",
         ["A", " dent", ".", "", ""]),
        (["<think>", " ", "\n", "</think>"], "", ["", ""]),
        (["<think>", "Ein", " Kr", "ä", "tzer", "</think>"], "Ein Krätzer",
         ["Ein", " Kr", "ä", "tzer"]),
    ],
)  # fmt: skip
def test_token_spans_point_into_the_explanation(pieces, explanation, found):
    inspection = inspect([*pieces, "<answer>", "Yes"])
    assert inspection.explanation == explanation
    assert [explanation[token.start : token.end] for token in inspection.tokens] == found
    for token in inspection.tokens:
        assert 0 <= token.start <= token.end <= len(explanation)


def test_the_vanilla_map_is_the_plain_mean_of_the_reasoning():
    trace = make_trace(RESPONSE)
    inspection = localize(trace, (3, 4), replace(PLAIN, selection="vanilla"))
    mean = trace.image_attention[2:6].double().numpy().mean(axis=0)
    density = mean / mean.mean()
    assert np.allclose(inspection.anomaly_map, density / (density + 4), atol=1e-6)


def test_the_map_is_the_weighted_mean_of_the_selected_tokens():
    inspection = localize(make_trace(RESPONSE), (3, 4), replace(PLAIN, tau_t=0.4))
    weights = np.array([token.weight * token.selected for token in inspection.tokens])
    assert 0 < (weights > 0).sum() < len(weights)
    mean = (weights[:, None, None] * inspection.token_maps).sum(axis=0) / weights.sum()
    density = mean / mean.mean()
    assert np.allclose(inspection.anomaly_map, density / (density + 4), atol=1e-6)


@pytest.mark.parametrize(
    ("pieces", "margin", "reasoning", "answer"),
    [
        (["<think>", "A dent", "</think>", "<answer>", "It has one"], 2.0, "A dent", "Yes"),
        (["<think>", "A dent, which"], -2.0, "A dent, which", "No"),
        (["All", " even"], -2.0, "All even", "No"),
        (["<answer>", "Defective", "</answer>"], 2.0, "<answer>Defective</answer>", "Yes"),
    ],
)
def test_a_forced_answer_is_the_likelier(pieces, margin, reasoning, answer):
    trace = replace(make_trace(pieces), answer_margin=margin, answer_forced=True)
    inspection = localize(trace, (30, 40), PLAIN)
    assert (inspection.answer, inspection.explanation) == (answer, reasoning)
    assert inspection.pred_label is (answer == "Yes")
    assert inspection.answer_forced
    assert inspection.to_json()["answer_forced"] is True
    with pytest.raises(AnswerError, match="empty"):
        localize(replace(trace, text=" "), (30, 40), PLAIN)


@pytest.mark.parametrize("margin", [-1000.0, -30.0, 0.0, 30.0, 1000.0])
def test_the_score_is_a_probability_however_sure_the_model_is(margin):
    trace = replace(make_trace(RESPONSE), answer_margin=margin)
    inspection = localize(trace, (30, 40), PLAIN)
    assert 0 <= inspection.pred_score <= 1
    assert (inspection.pred_score > 0.5) == (margin > 0)


@given(
    grid=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    image_size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 9),
)
def test_the_map_has_the_size_of_the_image_and_stays_in_range(grid, image_size, seed):
    inspection = localize(make_trace(RESPONSE, grid, seed), image_size, PLAIN)
    assert inspection.anomaly_map.shape == inspection.image_size == image_size
    assert inspection.anomaly_map.dtype == np.float32
    assert ((inspection.anomaly_map >= 0) & (inspection.anomaly_map <= 1)).all()
    assert inspection.token_maps.shape == (4, *grid)


@pytest.mark.parametrize(
    ("image_size", "grid", "cell"),
    [((1250, 500), (23, 9), (2, 7)), ((500, 1250), (9, 23), (7, 2))],
)
def test_a_hot_cell_of_an_oblong_image_lies_where_its_attention_is(image_size, grid, cell):
    trace = make_trace(RESPONSE, grid)
    trace.image_attention.fill_(1e-4)[:, cell[0], cell[1]] = 0.2
    anomaly_map = localize(trace, image_size, PLAIN).anomaly_map
    hottest = np.unravel_index(anomaly_map.argmax(), anomaly_map.shape)
    for pixel, index, pixels, cells in zip(hottest, cell, image_size, grid, strict=True):
        assert abs((pixel + 0.5) * cells / pixels - (index + 0.5)) < 0.1


@pytest.mark.parametrize("selection", ["real", "vanilla"])
@pytest.mark.parametrize("row", ["token", "previous"])
def test_an_answer_without_reasoning_has_a_score_and_an_empty_map(selection, row):
    settings = replace(PLAIN, selection=selection, attention_row=row)
    inspection = inspect(["<think>", "</think>", "<answer>", "Yes", "</answer>"], settings)
    assert inspection.tokens == ()
    assert inspection.explanation == ""
    assert inspection.token_maps.shape == (0, 3, 4)
    assert not inspection.anomaly_map.any()
    assert inspection.pred_label


def test_a_last_token_that_was_never_read_has_the_row_that_predicted_it():
    inspection = inspect(["Yes", ",", " a", " dent"])
    assert np.array_equal(inspection.token_maps[-1], inspection.token_maps[-2])


def test_a_response_without_an_answer_is_an_answer_error():
    with pytest.raises(AnswerError, match="raise max_new_tokens"):
        inspect(["<think>", "A", " dent"])


@pytest.mark.parametrize(
    ("reasoning", "answer", "contradiction"),
    [
        ("A dent.", "Yes", False),
        ("A dent.", "No", True),
        ("No dent.", "Yes", True),
        ("No dent.", "No", False),
    ],
)
def test_a_reasoning_that_says_the_opposite_is_a_contradiction(reasoning, answer, contradiction):
    inspection = inspect(["<think>", reasoning, "</think>", "<answer>", answer])
    assert inspection.contradiction is contradiction


@pytest.mark.parametrize(("threshold", "defective"), [(0.0, True), (1.0, False)])
def test_a_verdict_by_a_threshold_is_compared_with_answer_and_reasoning(threshold, defective):
    inspection = localize(make_trace(RESPONSE), (30, 40), PLAIN, threshold=threshold)
    assert (inspection.pred_label, inspection.answer) == (defective, "Yes")
    pairs = [] if defective else ["verdict/answer", "verdict/reasoning"]
    row = inspection.to_json()
    assert (row["disagreements"], row["contradiction"]) == (pairs, not defective)


def without_times(inspection: Inspection) -> tuple:
    row = inspection.to_json()
    del row["seconds"]
    return row, inspection.anomaly_map.tobytes(), inspection.token_maps.tobytes()


@given(
    tail=st.lists(st.sampled_from(["</answer>", "<answer>", "No", "Yes", "<think>", " x", "\n"])),
    seed=st.integers(0, 5),
    row=st.sampled_from(["token", "previous"]),
)
def test_text_after_the_answer_changes_nothing(tail, seed, row):
    settings = Settings(attention_row=row)
    pieces = RESPONSE[:9]
    short = make_trace(pieces, seed=seed)
    after = make_trace([*pieces, *tail], seed=seed + 100)
    longer = replace(
        after,
        **{
            name: torch.cat([getattr(short, name), getattr(after, name)[len(pieces) :]])
            for name in ("image_attention", "question_attention")
        },
    )
    expected = without_times(localize(short, (30, 40), settings))
    assert without_times(localize(longer, (30, 40), settings)) == expected


def test_to_json_holds_what_a_row_of_the_run_needs():
    inspection = localize(
        make_trace(RESPONSE), (30, 40), PLAIN, image="shots/part.png", trace_seconds=1.5
    )
    row = json.loads(json.dumps(inspection.to_json()))
    assert {
        key: row[key]
        for key in row
        if key not in ("tokens", "seconds", "pred_score", "map_peak", "regions", "sink_share")
        and key not in ("region_rule", "evidence")
    } == {
        "image": "shots/part.png",
        "image_size": [30, 40],
        "pred_label": True,
        "answer": "Yes",
        "answer_forced": False,
        "explanation": "A deep dent.",
        "contradiction": False,
        "disagreements": [],
        "warnings": [],
    }
    assert row["pred_score"] == inspection.pred_score
    assert row["evidence"] == {"words": round(inspection.pred_score, 6)}
    assert row["map_peak"] == inspection.anomaly_map.max()
    assert row["seconds"] == round(inspection.seconds, 4) >= 1.5
    assert inspection.timings["trace"] == 1.5
    for token, written in zip(inspection.tokens, row["tokens"], strict=True):
        assert list(written) == ["text", "start", "end", "S_T", "S_I", "selected", "weight"]
        for name, value in written.items():
            assert value == pytest.approx(getattr(token, name), abs=1e-6)


def test_a_tip_of_the_map_that_barely_reaches_the_threshold_is_no_region():
    trace, size = make_trace(RESPONSE), (300, 400)
    peak = localize(trace, size, PLAIN).map_peak
    barely = replace(PLAIN, region_threshold=peak * 0.9999)
    good = {"threshold": 1.0}
    assert localize(trace, size, replace(barely, regions_of_good=True), **good).regions == ()
    low = replace(PLAIN, region_threshold=peak * 0.9)
    clearly = localize(trace, size, replace(low, region_peak=peak * 0.9999))
    assert clearly.regions[0].score == peak
    of_good = replace(low, region_peak=peak, regions_of_good=True)
    assert localize(trace, size, of_good, **good).regions == ()
    # A defective image keeps the region of its peak; a good one has none unless it is asked for.
    (around,) = localize(trace, size, replace(low, region_peak=peak)).regions
    assert around.score == peak
    assert localize(trace, size, replace(low, region_peak=0), **good).regions == ()
    assert localize(trace, size, replace(of_good, region_peak=0), **good).regions


@pytest.mark.parametrize(("strip", "regions"), [(45, 0), (55, 1)])
def test_a_strip_that_a_part_leaves_is_no_region(strip: int, regions: int):
    trace = make_trace(RESPONSE)  # of 3 × 4 cells, 100 pixels each
    seen = Crop((0, 0, 400, 300 - strip), torch.ones(3, 4), score=0.0)
    trace = replace(trace, image_attention=torch.ones_like(trace.image_attention), crops=(seen,))
    settings = replace(
        PLAIN, crops=1, region_threshold=0.15, region_peak=0.15, regions_of_good=True
    )
    assert len(localize(trace, (300, 400), settings, threshold=1.0).regions) == regions


def test_an_image_in_memory_has_no_path():
    assert inspect(RESPONSE).to_json()["image"] is None


def test_a_batch_size_of_zero_is_refused():
    with pytest.raises(SettingsError, match="batch_size is 0"):
        Inspector(mllm=None, batch_size=0)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    code = """
        import sys, time
        began = time.perf_counter()
        import flawsight
        from flawsight import FlawsightError, Settings, PRESETS
        heavy = {"torch", "transformers", "numpy", "scipy", "PIL", "peft"} & set(sys.modules)
        print(time.perf_counter() - began, sorted(heavy))
    """
    # Another job may hold the processor, so the best of three counts.
    outputs = [run_python(code).split(maxsplit=1) for _ in range(3)]
    assert {heavy.strip() for _, heavy in outputs} == {"[]"}
    assert min(float(seconds) for seconds, _ in outputs) < 1


def test_every_public_name_resolves_and_is_listed():
    for name in flawsight.__all__:
        assert getattr(flawsight, name) is not None
    assert flawsight.Inspector is Inspector
    assert dir(flawsight) == sorted(flawsight.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'flawsight' has no attribute 'Inspecter'"):
        _ = flawsight.Inspecter


def test_running_out_of_memory_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    prompts = PromptBatch({}, torch.zeros(1, 0), [(1, 1)], torch.zeros(0))
    monkeypatch.setattr("flawsight.inspector.encode_prompts", lambda *_: prompts)
    monkeypatch.setattr("flawsight.ask.generate", out_of_memory)
    inspector = Inspector(mllm=None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="--batch-size"):
        inspector([Image.linear_gradient("L")])
