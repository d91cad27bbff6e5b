"""A detector's specification → the model of it that answers multiple-choice questions."""

from pathlib import Path

from ...errors import SettingsError
from ..detectors.spec import (
    LOAD,
    Spec,
    check_options,
    load_options,
    load_shared,
    needed_argument,
    options_of,
)
from .responder import Responder


def check_answers(spec: Spec) -> None:
    """Raise SettingsError for a detector that answers no questions, or an option that is none."""
    if spec.kind not in ("vlm", "openai"):
        raise SettingsError(
            f"{spec.text!r} answers no multiple-choice questions; use vlm:MODEL, also for a model "
            "that flawsight:MODEL loads, or openai:MODEL."
        )
    needed_argument(spec, "model")
    if spec.kind == "vlm":
        from .chat_responder import ChatResponder

        check_options(spec, [*options_of(ChatResponder), *LOAD])


def open_responder(spec: Spec, out: Path, batch_size: int) -> Responder:
    """Load the model of a specification.

    Args:
        spec: parsed, of kind vlm or openai.
        out: folder of the bench; answers of endpoints go to answers/ in it.
        batch_size: questions at once, of models that run here.

    Raises:
        FlawsightError: if it cannot be loaded, or an option is unknown.
    """
    check_answers(spec)
    options = {name: value for name, value in spec.options.items() if name != "name"}
    model = needed_argument(spec, "model")
    try:
        if spec.kind == "openai":
            from ...endpoint.cached_endpoint import CachedEndpoint
            from .endpoint_responder import EndpointResponder

            check_options(spec, options_of(EndpointResponder, CachedEndpoint))
            return EndpointResponder(model, name=spec.name, cache=out / "answers", **options)
        from .chat_responder import ChatResponder

        mllm = load_shared(model, (*load_options(options), ("any_family", True)))
        return ChatResponder(spec.name, mllm, **{"batch_size": batch_size} | options)
    except TypeError as error:
        raise SettingsError(f"{spec.text!r}: {error}.") from error
