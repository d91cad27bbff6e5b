"""Reading responses: where reasoning and answer stand, and whether they agree."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flawsight.errors import AnswerError
from flawsight.mllm.contradiction import (
    contradicts,
    disagreement_sentence,
    disagreements,
    telling_sentence,
)
from flawsight.mllm.response import answer_end, follows_form, parse_response

PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "answer",
        ":",
        "**",
        "Yes",
        "no",
        " ",
        "\n",
        "a dent",
        ".",
        "İ",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>A dent.</think><answer>Yes</answer>", "A dent.", "Yes"),
        ("<think> All even.\n</think>\n<answer> No </answer>\n", " All even.\n", "No"),
        ("<think>A dent.</think><answer>YES</answer>", "A dent.", "Yes"),
        ("<think>A dent.</think><answer>no</answer>", "A dent.", "No"),
        ("<THINK>A dent.</THINK><ANSWER>yes</ANSWER>", "A dent.", "Yes"),
        ("<think></think><answer>Yes</answer>", "", "Yes"),
        ("A dent.</think><answer>Yes</answer>", "A dent.", "Yes"),
        ("A dent. <answer>Yes</answer>", "A dent. ", "Yes"),
        ("<answer>No</answer>", "", "No"),
        ("<think>A dent. <answer>Yes</answer>", "A dent. ", "Yes"),
        ("<think>A dent.</think>Yes", "A dent.", "Yes"),
        ("<think>A dent.</think>\n\nNo.", "A dent.", "No"),
        ("<think>A dent.</think>So: <answer>Yes", "A dent.", "Yes"),
        ("<think>The <answer> tag comes last.</think><answer>No</answer>",
         "The <answer> tag comes last.", "No"),
        ("<think>I must not say <answer>Yes</answer> here.</think><answer>No</answer>",
         "I must not say <answer>Yes</answer> here.", "No"),
        ("<think>The <answer> tag comes now. <answer>Yes</answer>",
         "The <answer> tag comes now. ", "Yes"),
        ("Yes, there is a scratch.", " there is a scratch.", "Yes"),
        ("  no.\nAll is even.", "\nAll is even.", "No"),
        ("No dent is visible.", "No dent is visible.", "No"),
        ("Yes", "", "Yes"),
        ("<think>a</think><answer>Yes</answer><answer>No</answer>", "a", "Yes"),
        ("<think>A dent.\n</think>\n\n**Yes**", "A dent.\n", "Yes"),
        ("<think>A dent.</think>**Answer:** Yes, a dent.", "A dent.", "Yes"),
        ("<think>Even.</think>It looks even. The final answer is: **No**.", "Even.", "No"),
        ("**Yes**, there is a scratch.", " there is a scratch.", "Yes"),
        ("**No.** All is even.", " All is even.", "No"),
        ("Answer: No. All is even.", " All is even.", "No"),
        ("A scratch.\n\n**Answer**: Yes", "A scratch.\n\n", "Yes"),
        ("Is it? The answer is no.", "Is it? The ", "No"),
    ],
)  # fmt: skip
def test_reasoning_and_answer_are_found(text, reasoning, answer):
    response = parse_response(text)
    assert text[slice(*response.reasoning)] == reasoning
    assert response.answer == answer
    assert text[response.answer_start :].lower().startswith(answer.lower())


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "There is a scratch.",
        "<think>A dent.</think>",
        "<think>A dent.</think><answer></answer>",
        "<think>A dent.</think><answer>Maybe</answer>",
        "<think>A dent.</think><answer>Nothing</answer>",
        "<think>A dent.</think>It is Yes",
        "<think>The answer is Yes",
        "The answer is not clear: yes and no.",
        "The answer: nothing.",
        "<think><answer>Yes</answer></think>",
        "<answer>Yes</answer><think>A dent.",
        "Yesterday it was fine.",
        "Yes <think> maybe",
    ],
)
def test_a_response_without_an_answer_is_an_answer_error(text):
    with pytest.raises(AnswerError):
        parse_response(text)


def test_a_cut_off_reasoning_is_told_to_allow_more_tokens():
    with pytest.raises(AnswerError, match=r"raise max_new_tokens.*'…x{120}'"):
        parse_response("<think>" + "x" * 500)


@given(text=TEXTS)
@example("<answer>Yes</answer><think>")
def test_any_text_is_parsed_or_an_answer_error(text):
    try:
        response = parse_response(text)
    except AnswerError:
        return
    start, end = response.reasoning
    assert 0 <= start <= end <= len(text)
    assert text[response.answer_start :].lower().startswith(response.answer.lower())
    assert contradicts(text[start:end], response.answer) in (True, False)


@given(reasoning=st.text(), answer=st.sampled_from(["Yes", "No"]), tail=TEXTS)
def test_what_follows_the_answer_changes_nothing(reasoning, answer, tail):
    text = f"<think>{reasoning}</think><answer>{answer}</answer>"
    assert parse_response(text + tail) == parse_response(text)


@pytest.mark.parametrize(
    ("text", "follows"),
    [
        ("<think>A dent.</think><answer>Yes</answer>", True),
        ("<think>All even.</think><answer>No</answer>", True),
        ("\n<think>A\ndent.</think>\n<answer> Yes </answer>\n", True),
        ("<think>A < B, <b>bold</b>, a thinker.</think><answer>No</answer>", True),
        ("<think>The <answer> tag.</think><answer>No</answer>", False),
        ("<think>No. </answer> A dent.</think><answer>Yes</answer>", False),
        ("<think>No.<answer>No</answer> A dent.</think><answer>Yes</answer>", False),
        ("<think>A <Think> dent.</think><answer>Yes</answer>", False),
        ("<think>A dent.</THINK ></think><answer>Yes</answer>", False),
        ("<think>A dent.</think><answer>yes</answer>", False),
        ("<THINK>A dent.</THINK><ANSWER>Yes</ANSWER>", False),
        ("<think></think><answer>Yes</answer>", False),
        ("<think> \n </think><answer>Yes</answer>", False),
        ("<think>A dent.<answer>Yes</answer>", False),
        ("A dent.</think><answer>Yes</answer>", False),
        ("<think>A dent.</think><answer>Yes", False),
        ("<think>A dent.</think>Yes", False),
        ("<think>A dent.</think><answer>Yes, a dent</answer>", False),
        ("<think>A dent.</think><answer></answer>", False),
        ("<think>A dent.</think> So <answer>Yes</answer>", False),
        ("So <think>A dent.</think><answer>Yes</answer>", False),
        ("<think>A dent.</think><answer>Yes</answer> Bye", False),
        ("<think>A dent.</think><answer>Yes</answer><answer>No</answer>", False),
        ("<think><think>A dent.</think></think><answer>Yes</answer>", False),
        ("<think>A</think><think>dent.</think><answer>Yes</answer>", False),
        ("Yes", False),
        ("", False),
    ],
)
def test_the_form_is_followed_exactly_or_not(text, follows):
    assert follows_form(text) is follows


@given(text=TEXTS)
def test_what_follows_the_form_can_be_parsed(text):
    if follows_form(text):
        assert text[slice(*parse_response(text).reasoning)].strip()


FAULTY = [
    "There is a dark spot in the center.",
    "There is a reddish corrosion patch in the upper left. The rest of the metal looks even.",
    "The bearing is rusty and its race is pitted.",
    "There is a dark scratch in the upper left. The rest looks even.",
    "There is a red stain in the center. It stands out from the metal around it.",
    "There is a hole in the lower right of the fabric, so the part is defective.",
    "The rim is chipped.",
    "There is no defect on the left, but a crack runs through the right half.",
    "No dents are visible. However, the thread is torn.",
    "The part is not intact.",
    "The part isn’t intact.",
    "The surface is not flawless.",
    "This part is not free of defects.",
    "The part isn't without flaws.",
    "The part is not only scratched but also bent.",
    "There is a crack that should not be there.",
    "A scratch is visible where nothing should be.",
    "The surface is uneven, with a dent near the edge.",
    "The surface is not even, cracked from end to end.",
    "There is no rust, only a dark scratch.",
    "There is no dirt, and there is a dent in the rim.",
    "Although there are no stains, the cap is broken.",
    "Apart from a scratch, nothing stands out.",
    "Nothing is wrong except for a small chip.",
    "A screw is missing!",
    "One spot does not match: a burn.",
    "The pattern is irregular; the weave is damaged.",
    "An anomaly can be seen in the upper center.",
    "There is a fibre in the center, which should not be there.",
    "There is a logo, as there should be. There is a droplet, out of place there.",
    "The screw doesn’t belong there.",
    "A burr that mustn't be present is seen.",
    "So it is not as it should be.",
    "The rim does not look as it should.",
    "The texture is not normal.",
    "The texture isn’t normal.",
    "There is a bright patch, which is unusual.",
    "One cap is deformed, and all others are in good condition.",
    "A pin is misaligned.",
    "There is a hole in the center, as intended. There is a dent in the rim.",
    "The hole is not as intended.",
    "There is a crack, not by design.",
    "There is a scratch, and a logo in the center, as intended.",
]
SOUND = [
    "Nothing is wrong here. No part of the metal is damaged.",
    "Nothing stands out. The stone is intact, without any defect.",
    "Nothing is wrong here. The sheet looks even from edge to edge.",
    "No scratch is visible.",
    "There isn't any defect.",
    "There isn’t any defect.",
    "I cannot see any crack.",
    "I do not see a dent, a scratch, or a crack.",
    "No scratches, dents, or cracks are visible.",
    "There are no scratches, deep dents or visible stains.",
    "Scratches, dents and cracks are absent.",
    "Scratches and dents are not visible.",
    "A crack is nowhere to be seen.",
    "The part is free of defects.",
    "The surface is free from scratches, stains, and dents.",
    "The part is not defective.",
    "The part is defect-free.",
    "The weave is scratch-free.",
    "The finish is flawless.",
    "The print is faultless.",
    "The part is undamaged.",
    "The part is intact.",
    "Neither cracks nor holes are present.",
    "The part lacks any flaw.",
    "The weave was never torn.",
    "Defects: none.",
    "The metal shows an absence of damage.",
    "Nothing is out of place.",
    "There is nothing that should not be there.",
    "There is a label, as there should be. There is nothing out of the ordinary, nothing wrong.",
    "The bottle appears normal.",
    "The weave looks completely normal and even.",
    "All is as it should be.",
    "There is no dirt and everything is as it should be.",
    "The part is in good condition.",
    "I do not see anything unusual.",
    "There is a hole in the center, as intended. Nothing is wrong.",
]
NEUTRAL = [
    "",
    "The surface looks even.",
    "The stainless steel is smooth.",
    "The burnished metal shines.",
    "The part lies in the center of a pitch-dark table.",
    "There is a screw in the center, as there should be.",
    "The label belongs there.",
    "There is a hole in the center, as there should be.",
    "There are bubbles by design.",
    "The texture differs from that of a normal part.",
]


@pytest.mark.parametrize("reasoning", FAULTY)
def test_a_claim_of_a_fault_contradicts_only_no(reasoning):
    assert (contradicts(reasoning, "No"), contradicts(reasoning, "Yes")) == (True, False)


@pytest.mark.parametrize("reasoning", SOUND)
def test_a_claim_of_soundness_contradicts_only_yes(reasoning):
    assert (contradicts(reasoning, "No"), contradicts(reasoning, "Yes")) == (False, True)


@pytest.mark.parametrize("reasoning", NEUTRAL)
def test_no_claim_contradicts_nothing(reasoning):
    assert (contradicts(reasoning, "No"), contradicts(reasoning, "Yes")) == (False, False)


@pytest.mark.parametrize("reasoning", FAULTY + SOUND)
def test_case_does_not_change_a_claim(reasoning):
    for answer in ("Yes", "No"):
        assert contradicts(reasoning.upper(), answer) == contradicts(reasoning, answer)


VA, VR, AR = "verdict/answer", "verdict/reasoning", "answer/reasoning"


@pytest.mark.parametrize(
    ("verdict", "answer", "reasoning", "pairs", "sentence"),
    [
        (True, "Yes", "A dent.", (), ""),
        (True, "Yes", "It looks even.", (), ""),
        (True, "Yes", "No dent.", (VR, AR), "The reasoning finds nothing wrong, but the verdict "
         "is defective and the model answered Yes."),
        (True, "No", "A dent.", (VA, AR), "The model answered No, but the verdict is defective "
         "and the reasoning describes a defect."),
        (True, "No", "It looks even.", (VA,), "The verdict is defective, but the model answered "
         "No."),
        (True, "No", "No dent.", (VA, VR), "The verdict is defective, but the model answered No "
         "and the reasoning finds nothing wrong."),
        (False, "Yes", "A dent.", (VA, VR), "The verdict is good, but the model answered Yes and "
         "the reasoning describes a defect."),
        (False, "Yes", "It looks even.", (VA,), "The verdict is good, but the model answered "
         "Yes."),
        (False, "Yes", "No dent.", (VA, AR), "The model answered Yes, but the verdict is good "
         "and the reasoning finds nothing wrong."),
        (False, "No", "A dent.", (VR, AR), "The reasoning describes a defect, but the verdict is "
         "good and the model answered No."),
        (False, "No", "It looks even.", (), ""),
        (False, "No", "No dent.", (), ""),
    ],
)  # fmt: skip
def test_verdict_answer_and_reasoning_agree_or_are_said_to_differ(
    verdict, answer, reasoning, pairs, sentence
):
    assert disagreements(verdict, answer, reasoning) == pairs
    assert disagreement_sentence(pairs, verdict, answer) == sentence


@pytest.mark.parametrize(
    ("reasoning", "answer", "sentence"),
    [
        ("The metal is gray. A dent is seen. It is deep.", "Yes", "A dent is seen."),
        ("A cap. No scratches, dents or cracks. Even.", "No", "No scratches, dents or cracks."),
        ("The metal is gray. It shines.", "Yes", "The metal is gray."),
        ("  ", "No", ""),
    ],
)
def test_the_telling_sentence_is_the_first_that_claims_the_answer(reasoning, answer, sentence):
    assert telling_sentence(reasoning, answer) == sentence


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("<think>a</think><answer>Yes</answer>", -0),
        ("<think>a</think><answer> no. </answer> Well", -5),
        ("<think>I shall say <answer>Yes</answer> or not", None),
        ("<think>It says <answer>No</answer>.</think><answer>Yes", None),
        ("<think>It says <answer>No</answer>.</think><answer>Yes</answer>!", -1),
        ("<answer>Yes</answer><answer>No</answer>", -19),
        ("Yes", None),
    ],
)
def test_the_end_of_a_closed_answer(text: str, end: int | None) -> None:
    assert answer_end(text) == (None if end is None else len(text) + end)
