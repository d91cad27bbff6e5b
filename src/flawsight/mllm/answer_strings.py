"""A response → the token ids of its answer, and of the same response with the other answer.

Byte-pair merges may join an answer with the text around it. Qwen's tokens of ``<answer>No`` end in
``>No``, those of ``<answer>Yes`` in ``>`` and ``Yes``: the two part before the word. Only the
probabilities of all tokens from there on can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any

from ..errors import AnswerError
from .cut_traces import token_spans
from .response import closing, parse_response

_OTHER = {"Yes": "No", "yes": "no", "YES": "NO", "No": "Yes", "no": "yes", "NO": "YES"}
# Tokens before and after the answer that are tokenized with it. Merges do not reach farther.
_BEFORE, _AFTER = 4, 2

Ids = tuple[int, ...]


@dataclass(frozen=True)
class AnswerStrings:
    """The two ways in which a response may go on with an answer, as token ids.

    Attributes:
        base: the response up to where they part.
        yes: how it goes on with Yes, to the first end of a token that both have in common.
        no: the same with No.
        forced: the response has no answer; `base` goes on with text that closes its form.
    """

    base: Ids
    yes: Ids
    no: Ids
    forced: bool


def answer_strings(
    tokenizer: Any, ids: Sequence[int], opening: str, ends: set[int]
) -> AnswerStrings:
    """Find where the answers Yes and No part in a response, and how each goes on.

    The other answer is written like the response's: " no" for " yes".

    Args:
        tokenizer: of the model.
        ids: the response.
        opening: what of the response the prompt has begun.
        ends: tokens that end a response.
    """
    text, spans = token_spans(tokenizer, list(ids), opening)
    try:
        response = parse_response(text)
    except AnswerError:
        kept = tuple(takewhile(lambda token: token not in ends, ids))
        yes, no, _ = _tokens(tokenizer, closing(text), "Yes", "</answer>")
        return _parted(kept, yes, no, forced=True)
    start = response.answer_start
    stop = start + len(response.answer)
    at = next(i for i, span in enumerate(spans) if span[1] > start)
    last = next(i for i, span in enumerate(spans) if span[1] >= stop)
    word, after = text[start:stop], text[stop : spans[min(last + _AFTER, len(spans) - 1)][1]]
    begin = spans[max(0, at - _BEFORE)][0]
    written, other, left = _tokens(tokenizer, text[begin:start], word, after)
    end = stop + len(after) - left
    close = next((i for i in range(last, len(spans)) if spans[i][1] == end), len(spans)) + 1
    base = close - len(written)
    if base < 0 or tuple(ids[base:close]) != written:
        # The model did not put its answer as the tokenizer does.
        written, other, _ = _tokens(tokenizer, text[spans[at][0] : start], word, after)
        base = at
    yes, no = (written, other) if response.answer == "Yes" else (other, written)
    return _parted(tuple(ids[:base]), yes, no, forced=False)


def _parted(base: Ids, yes: Ids, no: Ids, forced: bool) -> AnswerStrings:
    """Move the tokens that both answers begin with to the base."""
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(yes, no, strict=False))))
    return AnswerStrings(base + yes[:same], yes[same:], no[same:], forced)


@lru_cache(maxsize=512)
def _tokens(tokenizer: Any, before: str, word: str, after: str) -> tuple[Ids, Ids, int]:
    """Tokenize an answer between two texts, and the other answer there.

    Returns:
        The tokens of both, to the first end of a token after the answer that they have in common;
        and how many characters of `after` they leave out.
    """
    ways, ends = [], []
    for each in (word, _OTHER.get(word, "No" if word.lower() == "yes" else "Yes")):
        ids = tokenizer(before + each + after, add_special_tokens=False)["input_ids"]
        text, spans = token_spans(tokenizer, ids)
        counts: dict[int, int] = {}  # characters left → tokens until there
        for count, span in enumerate(spans, start=1):
            counts.setdefault(len(text) - span[1], count)
        ways.append(tuple(ids))
        ends.append(counts)
    left = max(n for n in ends[0] if n in ends[1] and n <= len(after))
    written, other = (way[: counts[left]] for way, counts in zip(ways, ends, strict=True))
    return written, other, left
