"""A client for one OpenAI-compatible server: rate limit, retries, error messages."""

import base64
import io
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

from PIL.Image import Image

from ..errors import DetectorError, MissingExtraError, SettingsError
from .completion import Answer, read_completion

T = TypeVar("T")
OPENAI = "https://api.openai.com/v1"

# Errors that every further request would meet too: part of the server's message → what to do.
_PERMANENT = {
    "insufficient_quota": "The account has no credit left.",
    "logprobs": "Leave out logprobs.",
    "unsupported_parameter": "Set token_limit to the other name, or temperature=null.",
    "unsupported_value": "Set temperature=null.",
    "model_not_found": "Name a model that the server has.",
    # vLLM, for more images than it was started for.
    "may be provided in one": """Start vLLM with --limit-mm-per-prompt '{"image": N}'.""",
    # Gemini, with status 400.
    "API key not valid": "Check the key in the environment.",
}


def encode_png(image: Image) -> bytes:
    """Return an image as a PNG file, which keeps the exact pixels."""
    content = io.BytesIO()
    image.save(content, "png")
    return content.getvalue()


def with_images(messages: Sequence[dict[str, Any]], *pngs: bytes) -> list[dict[str, Any]]:
    """Return the chat of `user_message` in the API's form, with its images in it, in order."""
    urls = iter(f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in pngs)
    [message] = messages
    content = [
        {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else part
        for part in message["content"]
    ]
    return [{"role": message["role"], "content": content}]


def in_parallel(concurrency: int, function: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
    """Map `function` over the arguments in threads; the results are in order.

    The first exception is raised at once, and calls that have not begun are cancelled.
    """
    pool = ThreadPoolExecutor(concurrency)
    futures = [pool.submit(function, *each) for each in zip(*arguments, strict=True)]
    try:
        for future in as_completed(futures):
            future.result()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


class EndpointClient:
    """Sends requests, from several threads, and retries failed ones.

    The `openai` client retries on 408, 409, 429, 5xx, time-outs and lost connections, after the
    time in Retry-After (up to the client's limit) or an exponentially growing one with jitter.

    Args:
        base_url: of the server, like "http://localhost:8000/v1"; None is the variable
            OPENAI_BASE_URL, or else OpenAI.
        api_key_env: environment variable that holds the key. A server on this machine needs none.
        timeout: seconds without data from the server after which a request fails.
        retries: greatest number of retries of a request.
        requests_per_minute: limit, retries included; None is no limit.

    Raises:
        DetectorError: if the key is missing.
        MissingExtraError: without the openai package.
        SettingsError: if an argument makes no sense.
    """

    def __init__(
        self,
        base_url: str | None,
        *,
        timeout: float,
        retries: int,
        api_key_env: str = "OPENAI_API_KEY",
        requests_per_minute: float | None = None,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("openai", "endpoint") from error
        for label, number in (("timeout", timeout), ("requests_per_minute", requests_per_minute)):
            if number is not None and number <= 0:
                raise SettingsError(f"{label} is {number}; it must be above 0.")
        if retries < 0:
            raise SettingsError(f"retries is {retries}; it must be at least 0.")
        self.base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")
        local = _is_local(self.base_url)
        self._key = os.environ.get(api_key_env, "").strip()
        if not self._key and not local:
            raise DetectorError(
                f"There is no key for {self.base_url}: set the environment variable "
                f"{api_key_env}, or name another one with api_key_env=…."
            )
        self._openai = openai
        self._timeout = timeout
        self._interval = 0.0 if requests_per_minute is None else 60 / requests_per_minute
        self._next_request = 0.0
        self._lock = threading.Lock()
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=self.base_url,
            timeout=timeout,
            max_retries=retries,
            # The hook also runs before a retry.
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._wait_for_turn]}),
        )

    def ask(self, request: dict[str, Any]) -> Answer | DetectorError:
        """Return the answer to a chat completions request, or why this request failed.

        Raises:
            DetectorError: for a refusal that every other request would meet too.
        """
        openai = self._openai
        began = time.perf_counter()
        try:
            completion = self._client.chat.completions.create(**request)
        except openai.APIStatusError as error:
            # The body is the whole message; the error's own text leaves some forms out.
            message = str(error.body or error)
            self._raise_if_permanent(error.status_code, message, request["model"])
            reason = f"{error.status_code}: {self._shown(message)}"
        except openai.APITimeoutError:
            reason = f"no answer within {self._timeout:g} s"
        except openai.APIConnectionError as error:
            reason = f"no connection ({self._shown(error.__cause__ or error)})"
        except (openai.OpenAIError, ValueError) as error:
            reason = f"no valid JSON ({self._shown(error)})"
        else:
            answer = read_completion(completion, time.perf_counter() - began)
            if answer is not None:
                return answer
            reason = "no chat completion, but something else"
        return DetectorError(f"{self.base_url}: {reason}.")

    def post(self, path: str, body: dict[str, str]) -> None:
        """Send a request that is not a completion.

        Raises:
            DetectorError: if it refuses or cannot be reached.
        """
        try:
            self._client.post(path, body=body, cast_to=str)
        except self._openai.OpenAIError as error:
            message = self._shown(getattr(error, "body", None) or error)
            raise DetectorError(
                f"{self.base_url}{path}: {message}. vLLM loads adapters if it was started with "
                "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
            ) from error

    def _raise_if_permanent(self, status: int, message: str, model: str) -> None:
        """Raise if every other request would fail in the same way."""
        shown = self._shown(message)
        if advice := next((text for part, text in _PERMANENT.items() if part in message), None):
            what = f"refuses: {shown} {advice}"
        elif status in (401, 403):
            # The server's message may repeat the key.
            what = (
                f"refuses the key or its rights (status {status}). Check the key in the "
                "environment and what it allows."
            )
        elif status == 404:
            what = (
                f"knows no model {model!r}, or is no such endpoint (status 404): {shown}. Check "
                "the model and base_url."
            )
        else:
            return
        raise DetectorError(f"{self.base_url} {what}") from None

    def _shown(self, message: object) -> str:
        """Return the message of a server or an error, shortened and without the key."""
        text = " ".join(str(message).split())
        text = text.replace(self._key, "[key]") if self._key else text
        return text if len(text) <= 300 else f"{text[:300]}…"

    def _wait_for_turn(self, _request: Any) -> None:
        """Space requests evenly."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next_request)
            self._next_request = turn + self._interval
        time.sleep(turn - now)


def _is_local(base_url: str) -> bool:
    """Return whether a server is on this machine.

    Raises:
        SettingsError: if the address is invalid or holds a password.
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
