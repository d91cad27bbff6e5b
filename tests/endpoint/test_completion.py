"""The score that log-probabilities give, worked out by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from flawsight.endpoint.completion import read_completion, yes_share


def tokens(*texts: str, at: int = 0, top: dict[str, float] | None = None) -> list[Any]:
    """Tokens of probability 1, but for the one at index `at`, with the alternatives `top`."""
    made = [entry(text, 1.0, []) for text in texts]
    if top is not None:
        alternatives = [entry(text, chance) for text, chance in top.items()]
        made[at] = entry(texts[at], top.get(texts[at], 0.1), alternatives)
    return made


def entry(text: str, chance: float, alternatives: list[Any] | None = None) -> Any:
    logprob = math.log(chance) if chance else -9999.0  # as OpenAI and vLLM write it
    return SimpleNamespace(token=text, logprob=logprob, top_logprobs=alternatives)


@pytest.mark.parametrize(
    ("texts", "at", "top", "expected"),
    [
        # The answer, not the words of the reasoning; all spellings; "Not" is no "No".
        (
            ("<think>", "No", " dent? Yes", ".</think>", "<answer>", "Yes", "</answer>"),
            5,
            {"Yes": 0.6, "No": 0.2, " yes": 0.05, "NO": 0.1, "Not": 0.03, "A": 0.02},
            0.65 / 0.95,
        ),
        (("<answer>", "\n", " No", "</answer>"), 2, {" No": 0.75, " Yes": 0.25}, 0.25),
        # In letters: P(Yes) = .5 + .2.
        (("<answer>", "Y", "es"), 1, {"Y": 0.5, "N": 0.2, "Yes": 0.2, "No": 0.1}, 0.7),
        # One token with what stands before it.
        (("<answer", ">Yes", "</"), 1, {">Yes": 0.6, ">No": 0.2, ">": 0.1, ">N": 0.1}, 2 / 3),
        (("<answer>No",), 0, {"<answer>No": 0.8, "<answer>Yes": 0.2}, 0.2),
        # Without tags, and with what stands after it.
        (("Yes.", " A dent."), 0, {"Yes.": 0.3, "No,": 0.1}, 0.75),
        # The token itself, sampled though it was not among the likeliest: .1.
        (("<answer>", "No"), 1, {"Yes": 0.4, "Maybe": 0.2}, 0.8),
        # No alternative says the opposite.
        (("<answer>", "No"), 1, {"No": 1.0}, 0.0),
        (("<answer>", "Yes"), 1, {"Yes": 1.0, "No": 0.0}, 1.0),
        (("<answer>", "Yes"), 0, None, 1.0),
    ],
)
def test_the_share_of_yes(
    texts: tuple[str, ...], at: int, top: dict[str, float] | None, expected: float
) -> None:
    assert yes_share(tokens(*texts, at=at, top=top)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "given", [[], tokens("It", " is", " fine"), tokens("<answer>", "Yes", at=1, top={"Yes": 0.0})]
)
def test_no_share_without_an_answer_or_its_probability(given: list[Any]) -> None:
    assert yes_share(given) is None


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        SimpleNamespace(content=None),
        SimpleNamespace(tokens=["Yes"], token_logprobs=[-0.1]),
        SimpleNamespace(content=[SimpleNamespace(token="Yes", logprob=None, top_logprobs=None)]),
    ],
)
def test_foreign_log_probabilities_cost_no_answer(logprobs: Any) -> None:
    message = SimpleNamespace(content="Yes")
    choice = SimpleNamespace(message=message, finish_reason="stop", logprobs=logprobs)
    answer = read_completion(SimpleNamespace(choices=[choice], usage=None), 0.1)
    assert answer is not None
    assert (answer.text, answer.pred_score) == ("Yes", None)


# As Qwen joins them: ">No", but ">" and "Yes". The first token decides, and holds .45 or .55.
@pytest.mark.parametrize(
    ("first", "rest", "expected"),
    [
        ({">": 0.55, ">No": 0.45}, ("Yes", {"Yes": 0.999, "No": 0.001}), 0.55 * 0.999),
        ({">": 0.55, ">No": 0.45}, ("No", {"Yes": 0.4, "No": 0.6}), 0.55 * 0.4),
        ({">No": 0.45, ">": 0.55}, None, 0.55),
        ({">No": 0.45, ">Yes": 0.3, ">": 0.25}, None, 0.4),
        ({"> ": 0.5, ">No": 0.3, ">Yes": 0.2}, ("Yes", {"Yes": 0.5, "No": 0.5}), 0.45),
    ],
)
def test_the_share_of_yes_where_the_decision_falls_before_the_word(
    first: dict[str, float], rest: tuple[str, dict[str, float]] | None, expected: float
) -> None:
    given = tokens("<answer", next(iter(first)), at=1, top=first)
    if rest is not None:
        given += tokens(rest[0], at=0, top=rest[1])
    assert yes_share(given) == pytest.approx(expected)
