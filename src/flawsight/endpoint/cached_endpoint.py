"""One model on a server: its parameters, the answers already paid for, and a budget."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import DetectorError, SettingsError
from .answer_cache import AnswerCache
from .budget import Budget
from .client import OPENAI, EndpointClient, with_images
from .completion import Answer

# The most alternatives per token that OpenAI and vLLM give.
_LOGPROBS = {"logprobs": True, "top_logprobs": 20}


class CachedEndpoint:
    """A multimodal LLM behind an OpenAI-compatible chat completions endpoint.

    Args:
        model: its name on the server.
        base_url, api_key_env, requests_per_minute, timeout, retries: see `EndpointClient`.
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

    Raises:
        SettingsError: if an argument makes no sense; further errors see `EndpointClient`.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
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
    ) -> None:
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
        self.concurrency = concurrency
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
            "parameters": parameters,
            # Part of the key of answers already paid for.
            "image_format": "png",
            "image_detail": None,
        }

    def about(self) -> dict[str, Any]:
        """Return model, server, parameters and the images' encoding; no key."""
        return dict(self._request)

    def ask(
        self, messages: Sequence[dict[str, Any]], pngs: Sequence[bytes]
    ) -> tuple[Answer, float] | DetectorError:
        """Return an answer and what it cost now in US$, or why this request failed.

        Args:
            messages: the chat, with an image part for each image.
            pngs: the image files, in the order of the parts.

        Raises:
            DetectorError: if the key is refused, the model unknown, the budget spent or the cache
                not writable.
        """
        # One image keeps the key that its answers have had before there were several.
        images = pngs[0] if len(pngs) == 1 else b"".join(map(_digest, pngs))
        key = AnswerCache.key(self._request | {"messages": list(messages)}, images)
        if self._cache is not None and (cached := self._cache.get(key)) is not None:
            return cached, 0.0
        self._budget.check()
        request = {"model": self._request["model"], "messages": with_images(messages, *pngs)}
        answer = self._client.ask(request | self._request["parameters"])
        if isinstance(answer, DetectorError):
            return answer
        if self._cache is not None:
            self._cache.put(key, answer)
        return answer, self._budget.add(answer)


def _digest(png: bytes) -> bytes:
    return hashlib.sha256(png).digest()
