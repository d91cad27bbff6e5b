"""Answers to multiple-choice questions are read in the forms that models give them."""

from difflib import SequenceMatcher

import pytest

from flawsight.evaluate.mmad.choice_reading import mmad_choice, read_choice

YES_NO = {"A": "Yes.", "B": "No."}
PLACES = {"A": "Upper left.", "B": "Left.", "C": "Lower right.", "D": "Centre."}
KINDS = {"A": "Scratch.", "B": "A broken edge.", "C": "Contamination.", "D": "None of the above."}

# No capital stands alone, so MMAD takes the option whose text is most like the response.
CLOSEST = "closest"

# A response, the letter that it chooses, and the letter that MMAD's evaluation reads.
SAME = [
    ("B", PLACES, "B"),
    ("B.", PLACES, "B"),
    ("(B)", PLACES, "B"),
    ("B: Left.", PLACES, "B"),
    ("B. Left.", PLACES, "B"),
    ("B) Left", PLACES, "B"),
    ("**B**", PLACES, "B"),
    ("$\\boxed{B}$", PLACES, "B"),
    ("Answer: C", PLACES, "C"),
    ("**Answer**: C.", PLACES, "C"),
    ("The answer is (B).", PLACES, "B"),
    ("The correct answer would be option D.", PLACES, "D"),
    ("Answer: B. Left.\n", PLACES, "B"),
    ("I would say C, since the dent is at the bottom.", PLACES, "C"),
    ("A", YES_NO, "A"),
    ("Yes.", YES_NO, "A"),
    ("No", YES_NO, "B"),
    ("Lower right", PLACES, "C"),
    ("upper left.", PLACES, "A"),
    ("centre", PLACES, "D"),
    # Several letters: the last counts.
    ("A and C", PLACES, "C"),
    ("Not B but D.", PLACES, "D"),
]
DIFFERENT = [
    # Lower case.
    ("b", PLACES, "B", CLOSEST),
    ("(c).", PLACES, "C", CLOSEST),
    ("the answer is d", PLACES, "D", CLOSEST),
    ("answer: a", PLACES, "A", CLOSEST),
    # The article is no answer.
    ("A scratch is visible.", KINDS, "A", "A"),
    ("A broken edge.", KINDS, "B", "A"),
    ("The answer is a broken edge.", KINDS, "B", "B"),
    ("There is contamination. A stain covers the lid.", KINDS, "C", "A"),
    # Letters that are no options.
    ("Type E. Scratch", KINDS, "A", "E"),
    ("C", YES_NO, None, "C"),
    # Reasoning, finished or not.
    ("<think>It may be A or C.</think>B", PLACES, "B", "B"),
    ("It may be A.</think>The dent is on the left.", PLACES, "B", "A"),
    ("<think>It may be A, B or", PLACES, None, "B"),
    ("<think>Hm, C?</think><answer>b</answer> D", PLACES, "B", "D"),
    # The statement counts, not what is said after it.
    ("The answer is B. Options A and D are far from the dent.", PLACES, "B", "D"),
    ("Answer: B. The dent looks like a letter A", PLACES, "B", "A"),
    # Text within a sentence, and no answer at all.
    ("No, there is no defect: yes would be wrong.", YES_NO, "B", CLOSEST),
    ("It is in the upper left.", PLACES, "A", CLOSEST),
    ("I cannot tell.", KINDS, None, CLOSEST),
    ("", PLACES, None, CLOSEST),
    ("!!!", PLACES, None, CLOSEST),
]


@pytest.mark.parametrize(("response", "options", "letter"), SAME)
def test_plain_answers_are_read_as_mmad_reads_them(
    response: str, options: dict[str, str], letter: str
) -> None:
    assert read_choice(response, options) == letter
    assert mmad_choice(response, options) == letter


@pytest.mark.parametrize(("response", "options", "letter", "of_mmad"), DIFFERENT)
def test_other_answers(
    response: str, options: dict[str, str], letter: str | None, of_mmad: str
) -> None:
    assert read_choice(response, options) == letter
    if of_mmad == CLOSEST:
        likeness = {a: SequenceMatcher(None, x, response).ratio() for a, x in options.items()}
        assert likeness[mmad_choice(response, options) or ""] == max(likeness.values())
    else:
        assert mmad_choice(response, options) == of_mmad


@pytest.mark.parametrize("options", [YES_NO, PLACES, KINDS])
def test_every_option_is_found_by_letter_text_and_both(options: dict[str, str]) -> None:
    for letter, text in options.items():
        for said in (letter, letter.lower(), text, text.upper(), f"{letter}. {text}",
                     f"Answer: {letter}", f"({letter}) {text}"):  # fmt: skip
            assert read_choice(said, options) == letter, said
