"""The answer in a server's response: text, token counts, score from log-probabilities."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ..errors import AnswerError
from ..mllm.response import parse_response

_WORD = re.compile(r"\W*(\w+)")
# Tokens before the answer's in which an alternative may hold the answer as well.
_BEFORE = 4


@dataclass(frozen=True)
class Answer:
    """A server's answer about one image.

    Attributes:
        text: with the reasoning in <think> tags, even if the server sent it separately.
        finish_reason: "stop", or why else the text ends, like "length".
        input_tokens, output_tokens: as the server counts them; None if it does not.
        seconds: time spent on the request, including retries and the wait for the rate limit.
        pred_score: P(Yes) / (P(Yes) + P(No)) at the answer, in [0, 1]; None without
            log-probabilities.
    """

    text: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    seconds: float
    pred_score: float | None = None


def read_completion(completion: Any, seconds: float) -> Answer | None:
    """Return the answer in a response; None if the response is no chat completion.

    The response is untrusted: the openai package does not check what a server sends.
    """
    try:
        choice = completion.choices[0]
        message = choice.message
        text = message.content or getattr(message, "refusal", None) or ""
        # Some servers send the reasoning separately.
        reasoning = getattr(message, "reasoning_content", None) or getattr(
            message, "reasoning", None
        )
        if reasoning and "<think>" not in text:
            text = f"<think>{reasoning}</think>{text}"
        if not isinstance(text, str):
            return None
        usage = completion.usage
        return Answer(
            text=text,
            finish_reason=choice.finish_reason,
            input_tokens=None if usage is None else int(usage.prompt_tokens),
            output_tokens=None if usage is None else int(usage.completion_tokens),
            seconds=seconds,
            pred_score=_pred_score(choice),
        )
    except (AttributeError, IndexError, TypeError, ValueError):
        return None


def _pred_score(choice: Any) -> float | None:
    """Return the score of a choice; None if its log-probabilities are missing or malformed."""
    try:
        return yes_share(choice.logprobs.content)
    except (AttributeError, TypeError, ValueError):
        return None


def yes_share(tokens: Sequence[Any]) -> float | None:
    """Return P(Yes) / (P(Yes) + P(No)), in [0, 1], over the tokens that lead to the answer.

    An alternative counts if it is "yes" or "no" or its first letters, in any case, with any
    punctuation or space before it: "Yes", " yes", "Y", but not "Not". Of the tokens before the
    answer, an alternative counts that holds the answer as well: ">No" in place of ">". If the
    answer is the end of such a token, nothing tells what follows ">" alone; that is counted for
    the other answer, which does not join it.

    Args:
        tokens: of the whole response, as the openai package gives them. Each has `token`, its
            text; `logprob`, ≤ 0; and `top_logprobs`, the likeliest tokens at its position, which
            may lack the token itself.

    Returns:
        None if the response holds no answer, or no alternative counts.
    """
    texts = [token.token for token in tokens]
    text = "".join(texts)
    try:
        start = parse_response(text).answer_start
    except AnswerError:
        return None
    begins = list(accumulate(map(len, texts), initial=0))
    at = next(index for index, end in enumerate(begins[1:]) if end > start)
    sums, reached, bare = {"yes": 0.0, "no": 0.0}, 1.0, 0.0
    for index in range(max(0, at - _BEFORE), at + 1):
        chosen, before = tokens[index], text[begins[index] : start]
        alternatives = list(chosen.top_logprobs or ())
        if chosen.token not in [alternative.token for alternative in alternatives]:
            alternatives.append(chosen)
        for alternative in alternatives:
            lead = before.rstrip() if index < at else ""
            rest = alternative.token.removeprefix(before if index == at else lead)
            word = _WORD.match(rest.lower()) if alternative.token.startswith(lead) else None
            for answer in sums:
                if word and answer.startswith(word[1]):
                    sums[answer] += reached * math.exp(alternative.logprob)
            if index == at and before.strip() and alternative.token == before:
                bare = reached * math.exp(alternative.logprob)
        if any(sums.values()):  # what comes before is common to all
            reached *= math.exp(chosen.logprob)
    for answer, share in sums.items():
        sums[answer] = share or bare
    total = sum(sums.values())
    return sums["yes"] / total if total > 0 else None
