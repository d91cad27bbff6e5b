"""Any model behind an OpenAI-compatible endpoint as a detector: a verdict with its reasoning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...endpoint.cached_endpoint import CachedEndpoint
from ...endpoint.client import encode_png, in_parallel
from ...endpoint.completion import Answer
from ...errors import AnswerError, DetectorError, FlawsightError
from ...io.images import read_photo
from ...mllm.contradiction import contradicts
from ...mllm.response import parse_response
from ...prompt import user_message
from ...settings import check_bit_depth
from .protocol import Prediction, about_bit_depth


class EndpointDetector:
    """A multimodal LLM behind an OpenAI-compatible chat completions endpoint.

    It gets flawsight's question and instruction, and gives a verdict and, with `logprobs`, a score.

    Args:
        model: its name on the server.
        base_url: of the server, see `EndpointClient`.
        name: in tables; None is the model.
        bit_depth: of photos, see `Settings`.
        **options: of `CachedEndpoint`.

    Raises:
        SettingsError: if an argument makes no sense; further errors see `EndpointClient`.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        name: str | None = None,
        bit_depth: int | None = None,
        **options: Any,
    ) -> None:
        check_bit_depth(bit_depth)
        self._bit_depth = bit_depth
        self._endpoint = CachedEndpoint(model, base_url, **options)
        self._messages = user_message()
        self.name = model if name is None else name
        # Several rounds per batch, since a batch waits for its slowest request.
        self.batch_size = 4 * self._endpoint.concurrency

    def about(self) -> dict[str, Any]:
        """Return model, server, messages, parameters and the images' encoding; no key."""
        request = self._endpoint.about() | {"messages": self._messages}
        return {"endpoint": request} | about_bit_depth(self._bit_depth)

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Ask about each image, several at once.

        Raises:
            DetectorError: if the key is refused, the model unknown, the budget spent or the cache
                not writable. All answers that came before are in the cache.
        """
        return in_parallel(self._endpoint.concurrency, self._predict, images)

    def _predict(self, path: Path) -> Prediction | FlawsightError:
        """Predict one image. Errors that concern all images are raised, the others returned."""
        try:
            photo = read_photo(path, self._bit_depth)
            png = encode_png(photo.image)
        except FlawsightError as error:
            return error
        answered = self._endpoint.ask(self._messages, [png])
        if isinstance(answered, DetectorError):
            return answered
        return _prediction(*answered, photo.warnings)


def _prediction(
    answer: Answer, cost: float, warnings: tuple[str, ...]
) -> Prediction | FlawsightError:
    if answer.finish_reason == "length":
        return AnswerError(
            f"The answer was cut off at the token limit; raise max_tokens: {answer.text[-120:]!r}"
        )
    try:
        response = parse_response(answer.text)
    except AnswerError as error:
        return error
    reasoning = answer.text[slice(*response.reasoning)]
    return Prediction(
        pred_score=answer.pred_score,
        pred_label=response.answer == "Yes",
        explanation=reasoning.strip() or None,
        contradiction=contradicts(reasoning, response.answer) if reasoning.strip() else None,
        seconds=answer.seconds,
        details={
            "answer": answer.text,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "cost": cost,
            "warnings": list(warnings),
        },
    )
