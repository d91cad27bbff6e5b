"""What a server answered: its text, its cost in tokens, and how sure of Yes the model was."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ..errors import AnswerError
from ..mllm.response import parse_response

_WORD = re.compile(r"\W*(\w+)")


@dataclass(frozen=True)
class Answer:
    """What a server answered to one image.

    Attributes:
        text: with the reasoning in <think> tags, even where the server sent it apart.
        finish_reason: "stop", or why the text ends otherwise, like "length".
        input_tokens, output_tokens: as the server counts them; None if it does not say.
        seconds: time spent on the request, its repetitions and the wait for its turn included.
        pred_score: P(Yes) / (P(Yes) + P(No)) at the answer, in [0, 1]; None if the server does
            not say.
    """

    text: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    seconds: float
    pred_score: float | None = None


def read_completion(completion: Any, seconds: float) -> Answer | None:
    """Return the answer in what the client made of a response; None if that is no chat completion.

    The client does not check what a server sends, so anything may be missing.

    Args:
        completion: of the openai package, or anything else.
        seconds: time spent on the request.
    """
    try:
        choice = completion.choices[0]
        message = choice.message
        text = message.content or getattr(message, "refusal", None) or ""
        # Some servers take the reasoning out of the text.
        apart = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        if apart and "<think>" not in text:
            text = f"<think>{apart}</think>{text}"
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
    """Return the score in a choice; log-probabilities of a foreign form are as none."""
    try:
        return yes_share(choice.logprobs.content)
    except (AttributeError, TypeError, ValueError):
        return None


def yes_share(tokens: Sequence[Any]) -> float | None:
    """Return P(Yes) / (P(Yes) + P(No)), in [0, 1], at the token where the answer begins.

    All alternatives there count that begin a yes or a no, as a whole word or its first letters,
    whatever their case and the signs before them: "Yes", " yes", "Y", but not "Not".

    Args:
        tokens: of the whole response, as the openai package gives them: each with `token`, its
            text; `logprob`, ≤ 0; and `top_logprobs`, the likeliest tokens at its place, which may
            lack the token itself.

    Returns:
        None if the response holds no answer, or no alternative is a yes or a no.
    """
    texts = [token.token for token in tokens]
    try:
        start = parse_response("".join(texts)).answer_start
    except AnswerError:
        return None
    ends = list(accumulate(map(len, texts)))
    index = next(index for index, end in enumerate(ends) if end > start)
    chosen = tokens[index]
    before = texts[index][: start - ends[index]]  # as in ">Yes", which is one token to some models
    alternatives = list(chosen.top_logprobs or ())
    if chosen.token not in [alternative.token for alternative in alternatives]:
        alternatives.append(chosen)
    said = {"yes": 0.0, "no": 0.0}
    for alternative in alternatives:
        word = _WORD.match(alternative.token.removeprefix(before).lower())
        for answer in said:
            if word and answer.startswith(word[1]):
                said[answer] += math.exp(alternative.logprob)
    total = sum(said.values())
    return said["yes"] / total if total > 0 else None
