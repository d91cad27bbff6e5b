"""Images whose reasoning claims the opposite of the answer are asked about again, by sampling."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from PIL.Image import Image

from ..errors import AnswerError, FlawsightError
from ..inspection import Trace
from ..settings import Settings
from .contradiction import contradicts
from .response import parse_response

Outcome = TypeVar("Outcome", bound=Trace | FlawsightError)

# Of the responses sampled where decoding greedily gave a contradiction.
TEMPERATURE = 0.7


def ask_again(
    ask: Callable[[list[Image], Settings], Sequence[Outcome]],
    images: Sequence[Image],
    traces: Sequence[Outcome],
    settings: Settings,
) -> list[Outcome]:
    """Replace each trace that is not settled by the first of `settings.reask` samples that is.

    One image is asked about at a time, so that what it gets does not depend on its neighbours.

    Args:
        ask: makes a trace of each image.
        images: RGB images.
        traces: one an image, of a first asking; what is no trace stays.
        settings: those of the first asking; `seed` is counted on.

    Returns:
        The traces; where no sample is settled either, the first one.

    Raises:
        ModelError: if the model computes NaN.
    """
    settled = list(traces)
    for index, (image, trace) in enumerate(zip(images, traces, strict=True)):
        if not isinstance(trace, Trace) or is_settled(trace):
            continue
        for turn in range(1, settings.reask + 1):
            own = replace(
                settings,
                temperature=settings.temperature or TEMPERATURE,
                seed=settings.seed + turn,
            )
            again = ask([image], own)[0]
            if is_settled(again):
                settled[index] = again
                break
    return settled


def is_settled(outcome: Trace | FlawsightError) -> bool:
    """Tell whether there is an answer that the reasoning does not speak against."""
    if not isinstance(outcome, Trace):
        return False
    try:
        response = parse_response(outcome.text)
    except AnswerError:
        return False
    return not contradicts(outcome.text[slice(*response.reasoning)], response.answer)
