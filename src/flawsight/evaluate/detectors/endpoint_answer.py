"""What a server answered: its text and its cost in tokens."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a server answered to one image.

    Attributes:
        text: with the reasoning in <think> tags, even where the server sent it apart.
        finish_reason: "stop", or why the text ends otherwise, like "length".
        input_tokens, output_tokens: as the server counts them; None if it does not say.
        seconds: time spent on the request, its repetitions and the wait for its turn included.
    """

    text: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    seconds: float


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
        )
    except (AttributeError, IndexError, TypeError, ValueError):
        return None
