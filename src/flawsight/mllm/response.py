"""The response form: where the reasoning and the answer stand, and whether they agree."""

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import AnswerError

_ANSWER = re.compile(r"<answer>\s*(yes|no)\b", re.IGNORECASE)
_BARE_ANSWER = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
_FORM = re.compile(r"<think>(?:(?!</?think>).)+</think>\s*<answer>\s*(yes|no)\s*</answer>\s*", re.S | re.I)

_FAULT = re.compile(
    r"\b(?:defect|anomal|abnormal|damag|fault|flaw|scratch|crack|dent|hole|stain|broken|missing|"
    r"contaminat|chip|bent|burn|tear|torn|wrong|irregular)\w*",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\b(?:no|not|never|nothing|none|without|free of|n't|neither|nor|absence)\b|n't\b",
    re.IGNORECASE,
)
_SOUND = re.compile(r"\b(?:intact|flawless|undamaged|defect-free|faultless)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[.;!?,\n]|\bbut\b|\bhowever\b|\balthough\b")


@dataclass(frozen=True)
class Response:
    """A parsed response. Spans are [start, end) characters of the whole text."""

    reasoning: tuple[int, int]
    answer: Literal["Yes", "No"]
    answer_start: int


def parse_response(text: str) -> Response:
    """Find reasoning and answer, forgiving a form that is not quite kept.

    The answer is the Yes or No after ``<answer>``; without that tag, one right after ``</think>``,
    or right at the start of a text without tags. The reasoning is what stands inside ``<think>``;
    an unclosed ``<think>`` ends at the answer.

    Raises:
        AnswerError: if there is no such Yes or No.
    """
    think = text.find("<think>")
    start = 0 if think < 0 else think + len("<think>")
    closed = text.find("</think>", start)
    match = _ANSWER.search(text, max(closed, 0))
    tag_at = match.start() if match else None
    if match is None:
        bare_at = closed + len("</think>") if closed >= 0 else 0
        match = _BARE_ANSWER.match(text, bare_at)
    if match is None:
        shown = text if len(text) <= 120 else f"…{text[-120:]}"
        hint = (
            "the reasoning never ended; raise max_new_tokens"
            if think >= 0 and closed < 0
            else "the model may not know the response form"
        )
        raise AnswerError(f"The response holds no Yes or No ({hint}): {shown!r}")
    if closed >= 0:
        reasoning = (start, closed)
    elif tag_at is not None:
        reasoning = (start, tag_at)
    else:
        reasoning = (match.end(), len(text))
    answer: Literal["Yes", "No"] = "Yes" if match[1].lower() == "yes" else "No"
    return Response(reasoning, answer, match.start(1))


def follows_form(text: str) -> bool:
    """Tell whether the text is exactly ``<think>…</think><answer>Yes|No</answer>``."""
    return _FORM.fullmatch(text.strip()) is not None


def contradicts(reasoning: str, answer: str) -> bool:
    """Tell whether the reasoning claims the opposite of the answer.

    A lexical rule: the reasoning claims a fault if one clause names a fault without denying it,
    and soundness if it denies a fault or says "intact" and claims no fault. A reasoning that
    claims neither contradicts nothing.
    """
    claims_fault = claims_soundness = False
    for clause in _CLAUSE.split(reasoning):
        denied = _DENIAL.search(clause) is not None
        if _FAULT.search(clause):
            claims_fault |= not denied
            claims_soundness |= denied
        elif _SOUND.search(clause):
            claims_soundness |= not denied
            claims_fault |= denied
    if answer == "Yes":
        return claims_soundness and not claims_fault
    return claims_fault
