"""Parse responses: the positions of reasoning and answer."""

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import AnswerError
from ..inspection import Trace

_ANSWER = re.compile(r"<answer>\s*(yes|no)\b", re.IGNORECASE)
# Free answers; the asterisks are Markdown's emphasis: "**Yes**", "**Answer:** No".
_LABEL = r"\**\banswer\b[\s*]*(?:is\b|:)[\s*:]*"
_LABELLED_ANSWER = re.compile(rf"{_LABEL}(yes|no)\b", re.IGNORECASE)
_BARE_ANSWER = re.compile(
    rf"[\s*]*(?:{_LABEL})?(yes|no)\b([\s*]*[.,:;!]+\**|[\s*]*\Z)?", re.IGNORECASE
)
_CLOSED_ANSWER = re.compile(r"<answer>\s*(?:yes|no)\b[^<]*</answer>", re.IGNORECASE)
_TAG = re.compile(r"<answer>", re.IGNORECASE)
_END_TAG = re.compile(r"</answer>", re.IGNORECASE)
_OPENED = re.compile(r"<think>", re.IGNORECASE)
_CLOSED = re.compile(r"</think>", re.IGNORECASE)
_FORM = re.compile(
    r"<think>(?!\s*</think>)(?:(?!(?i:</?(?:think|answer)\s*>)).)+</think>\s*"
    r"<answer>\s*(?:Yes|No)\s*</answer>",
    re.DOTALL,
)


@dataclass(frozen=True)
class Response:
    """A parsed response. Spans are [start, end) characters of the whole text."""

    reasoning: tuple[int, int]
    answer: Literal["Yes", "No"]
    answer_start: int


def parse_response(text: str) -> Response:
    """Find reasoning and answer, also in a response that departs from the form.

    The answer is the Yes or No after ``<answer>``. Without that tag, it is the first word after
    ``</think>`` or of a text without tags, or else follows "answer:" or "answer is". The reasoning
    is the text inside ``<think>``; an unclosed ``<think>`` ends at the answer. In a text without
    tags it is the text before the answer. If the answer is the first word, it is the whole text,
    without an answer that punctuation follows: "No dent is visible" needs its "No".

    Raises:
        AnswerError: if there is no such Yes or No.
    """
    opened = _OPENED.search(text)
    start = opened.end() if opened else 0
    closed = _CLOSED.search(text, start)
    match = _ANSWER.search(text, closed.end() if closed else start)
    tag_at = match.start() if match else None
    if match is None and (closed or not opened):
        free_from = closed.end() if closed else 0
        match = _BARE_ANSWER.match(text, free_from)
        if match is None:
            match = _LABELLED_ANSWER.search(text, free_from)
            tag_at = match.start() if match else None
    if match is None:
        shown = text if len(text) <= 120 else f"…{text[-120:]}"
        hint = (
            "the reasoning never ended; raise max_new_tokens"
            if opened and not closed
            else "the model may not know the response form"
        )
        raise AnswerError(f"The response holds no Yes or No ({hint}): {shown!r}")
    if closed:
        reasoning = (start, closed.start())
    elif tag_at is not None:
        reasoning = (start, tag_at)
    else:
        reasoning = (match.start(1) if match[2] is None else match.end(), len(text))
    answer: Literal["Yes", "No"] = "Yes" if match[1].lower() == "yes" else "No"
    return Response(reasoning, answer, match.start(1))


def answer_end(text: str) -> int | None:
    """Return where ``<answer>Yes|No</answer>`` ends after the reasoning; None without it."""
    opened = _OPENED.search(text)
    closed = _CLOSED.search(text, opened.end() if opened else 0)
    if opened and not closed:
        return None
    match = _CLOSED_ANSWER.search(text, closed.end() if closed else 0)
    return match.end() if match else None


def closing(text: str) -> str:
    """Return what must follow a response without a Yes or No for one to come next."""
    if _TAG.search(text):
        return "<answer>" if _END_TAG.search(text) else "</answer><answer>"
    return "</think><answer>" if _OPENED.search(text) and not _closed(text) else "<answer>"


def response_of(trace: Trace) -> Response:
    """Return the parsed response of a trace.

    Raises:
        AnswerError: if it holds no Yes or No and none was forced, or if it is empty.
    """
    if trace.answer_forced:
        return forced_response(trace.text, trace.answer_margin > 0)
    return parse_response(trace.text)


def forced_response(text: str, yes: bool) -> Response:
    """Find the reasoning in a response without an answer, for the likelier one.

    It is the text inside ``<think>`` or before ``<answer>``, or else the whole text.

    Raises:
        AnswerError: if the response is empty.
    """
    if not text.strip():
        raise AnswerError("The response is empty.")
    opened = _OPENED.search(text)
    start = opened.end() if opened else 0
    ended = _closed(text) or _TAG.search(text, start)
    end = ended.start() if ended else len(text)
    if not text[start:end].strip():
        start, end = 0, len(text)
    return Response((start, end), "Yes" if yes else "No", len(text))


def _closed(text: str) -> re.Match[str] | None:
    opened = _OPENED.search(text)
    return _CLOSED.search(text, opened.end() if opened else 0)


def follows_form(text: str) -> bool:
    """Return whether the text is exactly ``<think>…</think><answer>Yes|No</answer>``."""
    return _FORM.fullmatch(text.strip()) is not None
