"""Any OpenAI-compatible endpoint as a detector: it answers Yes or No and says why."""

import base64
import io
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ...data.images import read_image
from ...errors import (
    AnswerError,
    DetectorError,
    FlawsightError,
    MissingExtraError,
    SettingsError,
)
from ...mllm.contradiction import contradicts
from ...mllm.prompt import QUESTION, user_message
from ...mllm.response import parse_response
from ..detector import Prediction
from .endpoint_cache import Answer, AnswerCache, read_completion

OPENAI = "https://api.openai.com/v1"

# Refusals that every further request would meet too: the server's name for them → what to do.
_HOPELESS = {
    "insufficient_quota": "The account has no credit left.",
    "unsupported_parameter": "Set token_limit to the other name, or temperature=null.",
    "unsupported_value": "Set temperature=null.",
    "model_not_found": "Name a model that the server has.",
}


class EndpointDetector:
    """A multimodal LLM behind an OpenAI-compatible chat completions endpoint.

    It gets flawsight's own question and instruction, and yields a verdict without a score. Failed
    requests are repeated by the `openai` client: on 408, 409, 429, 5xx, time-outs and lost
    connections, after as long as Retry-After says (up to the client's limit) or an exponentially
    growing time with jitter.

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
        timeout: float = 60,
        retries: int = 5,
        price_in: float = 0,
        price_out: float = 0,
        budget: float | None = None,
        question: str = QUESTION,
        image_format: Literal["png", "jpeg"] = "png",
        image_detail: Literal["low", "high", "auto"] | None = None,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("openai", "endpoint") from error
        base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")
        local = _is_local(base_url)
        for label, value, least in (
            ("concurrency", concurrency, 1),
            ("max_tokens", max_tokens, 1),
            ("retries", retries, 0),
            ("price_in", price_in, 0),
            ("price_out", price_out, 0),
        ):
            if value < least:
                raise SettingsError(f"{label} is {value}; it must be at least {least}.")
        for label, number in (("timeout", timeout), ("requests_per_minute", requests_per_minute)):
            if number is not None and number <= 0:
                raise SettingsError(f"{label} is {number}; it must be above 0.")
        if budget is not None and not (budget > 0 and price_in + price_out > 0):
            raise SettingsError("A budget must be above 0 and needs price_in and price_out.")
        if image_format not in ("png", "jpeg"):
            raise SettingsError(f"image_format is {image_format!r}; use png or jpeg.")
        key = os.environ.get(api_key_env, "").strip()
        if not key and not local:
            raise DetectorError(
                f"There is no key for {base_url}: put it into the environment variable "
                f"{api_key_env}, or name another one with api_key_env=…."
            )
        self.name = model if name is None else name
        # Several rounds of requests at once: the slowest of a batch keeps the others waiting.
        self.batch_size = 4 * concurrency
        if token_limit is None:
            token_limit = "max_completion_tokens" if base_url == OPENAI else "max_tokens"
        parameters: dict[str, Any] = {token_limit: max_tokens}
        if temperature is not None:
            parameters["temperature"] = temperature
        self._request: dict[str, Any] = {
            "model": model,
            "base_url": base_url,
            "messages": user_message(question),
            "parameters": parameters,
            "image_format": image_format,
            "image_detail": image_detail,
        }
        self._key = key
        self._openai = openai
        self._cache = AnswerCache(cache)
        self._concurrency = concurrency
        self._prices = (price_in, price_out)
        self._budget = budget
        self._spent = 0.0
        self._interval = 0.0 if requests_per_minute is None else 60 / requests_per_minute
        self._next_request = 0.0
        self._lock = threading.Lock()
        self._client = openai.OpenAI(
            api_key=key or "none",
            base_url=base_url,
            timeout=timeout,
            max_retries=retries,
            # The hook also sees the client's own repetitions.
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._wait_for_turn]}),
        )

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
            image = self._encode(path)
        except FlawsightError as error:
            return error
        key = AnswerCache.key(self._request, image)
        answer = self._cache.get(key)
        cost = 0.0
        if answer is None:
            try:
                answer = self._ask(image, path)
            except _OneImageError as error:
                return DetectorError(str(error))
            self._cache.put(key, answer)
            cost = self._account(answer)
        return self._interpret(answer, cost)

    def _encode(self, path: Path) -> bytes:
        content = io.BytesIO()
        read_image(path).save(content, self._request["image_format"], quality=95)
        return content.getvalue()

    def _ask(self, image: bytes, path: Path) -> Answer:
        if self._budget is not None and self._spent >= self._budget:
            raise DetectorError(
                f"The budget of US$ {self._budget:g} is spent (US$ {self._spent:.4f}). The answers "
                "so far are kept; raise the budget and run the same command again."
            )
        openai = self._openai
        began = time.perf_counter()
        try:
            completion = self._client.chat.completions.create(
                model=self._request["model"],
                messages=self._messages(image),
                **self._request["parameters"],
            )
        except openai.APIStatusError as error:
            self._raise_if_hopeless(error)
            reason = f"{error.status_code}: {self._shown(error)}"
        except openai.APITimeoutError:
            reason = f"no answer within {self._client.timeout:g} s"
        except openai.APIConnectionError as error:
            reason = f"no connection ({self._shown(error.__cause__ or error)})"
        except (openai.OpenAIError, ValueError) as error:
            reason = f"no valid JSON ({self._shown(error)})"
        else:
            seconds = time.perf_counter() - began
            if (answer := read_completion(completion, seconds)) is not None:
                return answer
            reason = "no chat completion, but something else"
        raise _OneImageError(f"{self._request['base_url']} on {path}: {reason}.")

    def _messages(self, image: bytes) -> list[dict[str, Any]]:
        kind = self._request["image_format"]
        url = {"url": f"data:image/{kind};base64,{base64.b64encode(image).decode()}"}
        if self._request["image_detail"] is not None:
            url["detail"] = self._request["image_detail"]
        [message] = self._request["messages"]
        content = [
            {"type": "image_url", "image_url": url} if part["type"] == "image" else part
            for part in message["content"]
        ]
        return [{"role": message["role"], "content": content}]

    def _raise_if_hopeless(self, error: Any) -> None:
        """Raise where every other image would fail the same way."""
        server = self._request["base_url"]
        if error.status_code in (401, 403):
            # The server's own words may repeat the key.
            raise DetectorError(
                f"{server} refuses the key or its rights (status {error.status_code}). Check the "
                "key in the environment and what it allows."
            ) from None
        if error.status_code == 404:
            raise DetectorError(
                f"{server} knows no model {self._request['model']!r}, or is no such endpoint "
                f"(status 404): {self._shown(error)}. Check the model and base_url."
            ) from None
        if str(error.code) in _HOPELESS:
            raise DetectorError(
                f"{server} refuses: {self._shown(error)} {_HOPELESS[str(error.code)]}"
            ) from None

    def _shown(self, error: BaseException) -> str:
        """Return the message of an error, short and without the key."""
        text = " ".join(str(error).split())
        text = text.replace(self._key, "[key]") if self._key else text
        return text if len(text) <= 300 else f"{text[:300]}…"

    def _wait_for_turn(self, _request: Any) -> None:
        """Space requests evenly."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next_request)
            self._next_request = turn + self._interval
        time.sleep(turn - now)

    def _account(self, answer: Answer) -> float:
        """Return what a new answer cost in US$, and add it to what is spent.

        Raises:
            DetectorError: if there is a budget, but the server does not count tokens.
        """
        if answer.input_tokens is None or answer.output_tokens is None:
            if self._budget is not None:
                raise DetectorError(
                    f"{self._request['base_url']} does not say how many tokens it used, so no "
                    "budget can be kept; leave it out."
                )
            return 0.0
        price_in, price_out = self._prices
        cost = (answer.input_tokens * price_in + answer.output_tokens * price_out) / 1e6
        with self._lock:
            self._spent += cost
        return cost

    def _interpret(self, answer: Answer, cost: float) -> Prediction | FlawsightError:
        if answer.finish_reason == "length":
            return AnswerError(
                f"The answer was cut off at the token limit; raise max_tokens: "
                f"{answer.text[-120:]!r}"
            )
        try:
            response = parse_response(answer.text)
        except AnswerError as error:
            return error
        reasoning = answer.text[slice(*response.reasoning)]
        said = bool(reasoning.strip())
        return Prediction(
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


class _OneImageError(Exception):
    """A request failed in a way that says nothing of the other images."""


def _is_local(base_url: str) -> bool:
    """Tell whether a server is on this machine.

    Raises:
        SettingsError: if the address is none, or holds a password.
    """
    parts = urlsplit(base_url)
    if parts.username or parts.query:
        raise SettingsError("base_url must hold no user or query; put the key into api_key_env.")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"base_url is {base_url!r}; give one like http://localhost:8000/v1.")
    try:
        return parts.hostname == "localhost" or ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
