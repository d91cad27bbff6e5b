"""Any model behind an OpenAI-compatible endpoint as a detector: a verdict with its reasoning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ...endpoint.answer_cache import AnswerCache
from ...endpoint.budget import Budget
from ...endpoint.client import OPENAI, EndpointClient, encode_png, in_parallel, with_images
from ...endpoint.completion import Answer
from ...errors import AnswerError, DetectorError, FlawsightError, SettingsError
from ...io.images import read_photo
from ...mllm.contradiction import contradicts
from ...mllm.response import parse_response
from ...prompt import user_message
from ...settings import check_bit_depth
from .protocol import Prediction, about_bit_depth

# The most alternatives per token that OpenAI and vLLM give.
_LOGPROBS = {"logprobs": True, "top_logprobs": 20}


class EndpointDetector:
    """A multimodal LLM behind an OpenAI-compatible chat completions endpoint.

    It gets flawsight's question and instruction, and gives a verdict and, with `logprobs`, a score.

    Args:
        model: its name on the server.
        base_url, api_key_env, requests_per_minute, timeout, retries: see `EndpointClient`.
        name: in tables; None is the model.
        cache: folder for answers; a cached answer costs no request. None caches none.
        concurrency: requests in flight at once.
        max_tokens: maximum length of the answer, in tokens.
        token_limit: the server's name of that parameter; None is "max_completion_tokens" for
            OpenAI and "max_tokens" elsewhere.
        temperature: of sampling; None leaves it to the server, as some models demand.
        logprobs: ask for log-probabilities, and score by P(Yes) / (P(Yes) + P(No)) at the answer.
            Some servers refuse such a request (OpenAI for reasoning models). Others ignore it
            (transformers serve); then there is no score.
        price_in, price_out: US$ per million tokens of input and output.
        budget: US$ that this object may spend; then no further request starts. The requests in
            flight, fewer than `concurrency`, may exceed it.
        bit_depth: of photos, see `Settings`.

    Raises:
        SettingsError: if an argument makes no sense; further errors see `EndpointClient`.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        name: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        cache: Path | None = None,
        requests_per_minute: float | None = None,
        concurrency: int = 4,
        max_tokens: int = 512,
        token_limit: Literal["max_tokens", "max_completion_tokens"] | None = None,
        temperature: float | None = 0,
        logprobs: bool = False,
        timeout: float = 60,
        retries: int = 5,
        price_in: float = 0,
        price_out: float = 0,
        budget: float | None = None,
        bit_depth: int | None = None,
    ) -> None:
        check_bit_depth(bit_depth)
        self._bit_depth = bit_depth
        for label, value in (("concurrency", concurrency), ("max_tokens", max_tokens)):
            if value < 1:
                raise SettingsError(f"{label} is {value}; it must be at least 1.")
        if not isinstance(logprobs, bool):
            raise SettingsError(f"logprobs is {logprobs!r}; use true or false.")
        self._budget = Budget(price_in, price_out, budget)
        self._client = EndpointClient(
            base_url,
            api_key_env=api_key_env,
            timeout=timeout,
            retries=retries,
            requests_per_minute=requests_per_minute,
        )
        base_url = self._client.base_url
        self.name = model if name is None else name
        # Several rounds per batch, since a batch waits for its slowest request.
        self.batch_size = 4 * concurrency
        self._concurrency = concurrency
        self._cache = None if cache is None else AnswerCache(cache)
        if token_limit is None:
            token_limit = "max_completion_tokens" if base_url == OPENAI else "max_tokens"
        parameters: dict[str, Any] = {token_limit: max_tokens}
        if temperature is not None:
            parameters["temperature"] = temperature
        if logprobs:
            parameters |= _LOGPROBS
        self._request: dict[str, Any] = {
            "model": model,
            "base_url": base_url,
            "messages": user_message(),
            "parameters": parameters,
            # Part of the key of answers already paid for.
            "image_format": "png",
            "image_detail": None,
        }

    def about(self) -> dict[str, Any]:
        """Return model, server, messages, parameters and the images' encoding; no key."""
        return {"endpoint": dict(self._request)} | about_bit_depth(self._bit_depth)

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Ask about each image, several at once.

        Raises:
            DetectorError: if the key is refused, the model unknown, the budget spent or the cache
                not writable. All answers that came before are in the cache.
        """
        return in_parallel(self._concurrency, self._predict, images)

    def _predict(self, path: Path) -> Prediction | FlawsightError:
        """Predict one image. Errors that concern all images are raised, the others returned."""
        try:
            photo = read_photo(path, self._bit_depth)
            png = encode_png(photo.image)
        except FlawsightError as error:
            return error
        key = AnswerCache.key(self._request, png)
        if self._cache is not None and (cached := self._cache.get(key)) is not None:
            return _prediction(cached, 0.0, photo.warnings)
        self._budget.check()
        messages = with_images(self._request["messages"], png)
        request = {"model": self._request["model"], "messages": messages}
        answer = self._client.ask(request | self._request["parameters"])
        if isinstance(answer, DetectorError):
            return answer
        if self._cache is not None:
            self._cache.put(key, answer)
        return _prediction(answer, self._budget.add(answer), photo.warnings)


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
