"""Any OpenAI-compatible endpoint as a detector: it answers Yes or No and says why."""

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal

from ...endpoint.answer_cache import AnswerCache
from ...endpoint.budget import Budget
from ...endpoint.client import OPENAI, EndpointClient, OneImageError, encode_image, with_image
from ...endpoint.completion import Answer
from ...errors import AnswerError, DetectorError, FlawsightError, SettingsError
from ...io.images import read_image
from ...mllm.contradiction import contradicts
from ...mllm.response import parse_response
from ...prompt import QUESTION, user_message
from .protocol import Prediction

# As many likely tokens at each place as OpenAI and vLLM give.
_LOGPROBS = {"logprobs": True, "top_logprobs": 20}


class EndpointDetector:
    """A multimodal LLM behind an OpenAI-compatible chat completions endpoint.

    It gets flawsight's own question and instruction, and yields a verdict; a score only with
    `logprobs`. Failed requests are repeated by the `openai` client: on 408, 409, 429, 5xx,
    time-outs and lost connections, after as long as Retry-After says (up to the client's limit)
    or an exponentially growing time with jitter.

    Args:
        model: as the server calls it.
        base_url: of the server, like "http://localhost:8000/v1"; None is the variable
            OPENAI_BASE_URL, or else OpenAI.
        name: what tables call it; None is the model.
        api_key_env: environment variable that holds the key. A server on this machine may do
            without one.
        cache: folder for answers; one that is there costs no request. None keeps none.
        requests_per_minute: at most so many requests, repeated ones included; None is no limit.
        concurrency: requests under way at once.
        max_tokens: length that the answer may have, in tokens.
        token_limit: what the server calls that length; None is "max_completion_tokens" for OpenAI
            and "max_tokens" elsewhere.
        temperature: of sampling; None leaves it to the server, as some models demand.
        logprobs: ask for log-probabilities, and score by P(Yes) / (P(Yes) + P(No)) at the answer.
            Some servers refuse such a request (OpenAI for reasoning models), others give none
            (transformers serve), and then there is no score.
        timeout: seconds without a sign from the server after which a request has failed.
        retries: how often a failed request is repeated.
        price_in, price_out: US$ per million tokens of input and output.
        budget: US$ that this object may spend; no request starts once it is spent. The requests
            under way by then, fewer than `concurrency`, still count and may exceed it.
        question: put to the model.
        image_format: "png" sends the exact pixels; "jpeg", of quality 95, is smaller.
        image_detail: "low", "high" or "auto" for servers that know it; None leaves it out.

    Raises:
        DetectorError: if the key is missing.
        MissingExtraError: without the openai package.
        SettingsError: if an argument makes no sense.
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
        question: str = QUESTION,
        image_format: Literal["png", "jpeg"] = "png",
        image_detail: Literal["low", "high", "auto"] | None = None,
    ) -> None:
        for label, value in (("concurrency", concurrency), ("max_tokens", max_tokens)):
            if value < 1:
                raise SettingsError(f"{label} is {value}; it must be at least 1.")
        if image_format not in ("png", "jpeg"):
            raise SettingsError(f"image_format is {image_format!r}; use png or jpeg.")
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
        # Several rounds of requests at once: the slowest of a batch keeps the others waiting.
        self.batch_size = 4 * concurrency
        self._concurrency = concurrency
        self._cache = AnswerCache(cache)
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
            "messages": user_message(question),
            "parameters": parameters,
            "image_format": image_format,
            "image_detail": image_detail,
        }

    def about(self) -> dict[str, Any]:
        """Return model, server, messages, parameters and the images' encoding. No key."""
        return {"endpoint": dict(self._request)}

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Ask about each image, several at once.

        Raises:
            DetectorError: if the key is refused, the model unknown, the budget spent or the cache
                not writable. All answers that came before are in the cache.
        """
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = [pool.submit(self._predict, path) for path in images]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                return [future.result() for future in futures]
            finally:
                for future in futures:
                    future.cancel()

    def _predict(self, path: Path) -> Prediction | FlawsightError:
        """Predict one image. What is raised, and not returned, concerns all images."""
        try:
            image = encode_image(read_image(path), self._request["image_format"])
        except FlawsightError as error:
            return error
        key = AnswerCache.key(self._request, image)
        answer = self._cache.get(key)
        cost = 0.0
        if answer is None:
            self._budget.check()
            described = self._request
            messages = with_image(
                described["messages"], image, described["image_format"], described["image_detail"]
            )
            request = {"model": described["model"], "messages": messages}
            try:
                answer = self._client.ask(request | self._request["parameters"])
            except OneImageError as error:
                return DetectorError(f"{self._client.base_url} on {path}: {error}.")
            self._cache.put(key, answer)
            cost = self._budget.add(answer)
        return _prediction(answer, cost)


def _prediction(answer: Answer, cost: float) -> Prediction | FlawsightError:
    if answer.finish_reason == "length":
        return AnswerError(
            f"The answer was cut off at the token limit; raise max_tokens: {answer.text[-120:]!r}"
        )
    try:
        response = parse_response(answer.text)
    except AnswerError as error:
        return error
    reasoning = answer.text[slice(*response.reasoning)]
    said = bool(reasoning.strip())
    return Prediction(
        pred_score=answer.pred_score,
        pred_label=response.answer == "Yes",
        explanation=reasoning.strip() if said else None,
        contradiction=contradicts(reasoning, response.answer) if said else None,
        seconds=answer.seconds,
        details={
            "answer": answer.text,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "cost": cost,
        },
    )
