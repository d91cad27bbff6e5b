"""A candidate's rewards from a trace made by hand."""

import math
from dataclasses import replace

import pytest
import torch

from flawsight.cgro.score_rollout import in_agreement, score_text, score_trace
from flawsight.cgro.train_settings import Consistency
from flawsight.inspection import Trace
from flawsight.settings import Settings

TOKENS = ["<think>", "A", " dark", " dent", ".", "</think>", "<answer>", "Yes", "</answer>", ""]
PLACES = {"A": 3, " dark": 40, " dent": 40, ".": 40}


def trace_of(tokens: list[str], places: dict[str, int] = PLACES) -> Trace:
    """Return a trace in which each token of `places` attends to one cell of an 8×8 grid.

    The others have flat maps. " dent" and "." attend to the anomaly word and have the highest w_r.
    """
    ends = [len("".join(tokens[: count + 1])) for count in range(len(tokens))]
    rows = len(tokens)
    image, question = torch.full((rows, 8, 8), 1 / 64), torch.full((rows, 4), 0.1)
    for index, token in enumerate(tokens[:-1]):
        if token in places:
            image[index + 1].view(-1)[places[token]] = 1.0
        if token in (" dent", "."):
            question[index + 1, 2] = 0.9
    return Trace(
        text="".join(tokens),
        token_spans=tuple(zip([0, *ends[:-1]], ends, strict=True)),
        image_attention=image,
        question_attention=question,
        anomaly_tokens=torch.tensor([False, False, True, False]),
        answer_margin=0.0,
    )


def test_three_tokens_with_maps_at_one_place_earn_consistency_for_a_defect_alone() -> None:
    settings = Settings()
    # The supports of " dent", "." and of the earlier of the light tokens, "A": 1, 0, 0.
    score = score_trace(trace_of(TOKENS), True, settings, Consistency())
    assert score.top == (3, 4, 1)
    assert score.agreement == pytest.approx(1 / 3)
    assert (score.format, score.accuracy, score.consistency, score.total) == (1, 1, 0, 2)
    assert score_trace(trace_of(TOKENS), False, settings, Consistency()).consistency == 1

    together = trace_of(TOKENS, PLACES | {"A": 40})
    assert score_trace(together, True, settings, Consistency()).total == 3
    normal = score_trace(together, False, settings, Consistency())
    assert (normal.format, normal.accuracy, normal.consistency) == (1, 0, 0)


def test_settings_decide_which_tokens_are_compared() -> None:
    trace = trace_of(TOKENS)
    two = score_trace(trace, True, Settings(selection="vanilla"), Consistency(top_t=2))
    assert (two.top, two.agreement, two.consistency) == ((3, 4), 1.0, 1.0)
    apart = score_trace(trace, True, Settings(), Consistency(jaccard_of="all"))
    assert apart.agreement == 0


def test_the_previous_row_may_count_as_a_tokens() -> None:
    trace = trace_of(TOKENS)
    earlier = replace(
        trace,
        image_attention=trace.image_attention.roll(-1, 0),
        question_attention=trace.question_attention.roll(-1, 0),
    )
    own = score_trace(trace, True, Settings(), Consistency())
    predicting = score_trace(earlier, True, Settings(attention_row="previous"), Consistency())
    assert predicting == own


@pytest.mark.parametrize("label", [True, False])
def test_one_token_or_no_answer_has_nothing_to_compare(label: bool) -> None:
    one = score_trace(
        trace_of(["<think>", "A", "</think>", "<answer>Yes</answer>", ""]),
        label,
        Settings(),
        Consistency(),
    )
    assert math.isnan(one.agreement)
    assert (one.format, one.consistency) == (1, 0)
    endless = score_trace(trace_of(TOKENS[:5]), label, Settings(), Consistency())
    assert endless.total == 0
    assert math.isnan(endless.agreement)
    empty = score_trace(trace_of(["<answer>Yes</answer>", ""]), label, Settings(), Consistency())
    assert (empty.consistency, empty.top) == (0, ())


@pytest.mark.parametrize(
    ("reasoning", "answer", "format_reward"),
    [
        ("There is a dent in the center.", "Yes", 1),
        ("There is a dent in the center.", "No", 0),
        ("There is nothing wrong.", "No", 1),
        ("There is nothing wrong.", "Yes", 0),
        ("Here one sees a lid.", "No", 1),
    ],
)
def test_a_reasoning_against_the_answer_earns_no_format(
    reasoning: str, answer: str, format_reward: int
) -> None:
    text = f"<think>{reasoning}</think><answer>{answer}</answer>"
    before = score_text(text, True)
    after = in_agreement(before, text)
    assert before.format == 1
    assert (after.format, after.accuracy) == (format_reward, before.accuracy)
    assert in_agreement(score_text("no answer", True), "no answer").total == 0


def test_text_alone_earns_format_and_accuracy() -> None:
    assert score_text("".join(TOKENS), True).total == 2
    assert score_text("".join(TOKENS), False).total == 1
    assert score_text("I see a dent. Answer: Yes", True).accuracy == 1
    assert score_text("", True).total == 0
