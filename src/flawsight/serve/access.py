"""Access control: token, host, origin and rate limit, and the headers of every response."""

import asyncio
import base64
import contextlib
import logging
import time
from collections import OrderedDict
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access_tokens import AccessTokens, is_loopback
from .limits import Limits
from .public_address import PublicAddress

_log = logging.getLogger(__name__)
_OPEN_PATHS = {"/healthz", "/readyz"}
_READING = {"GET", "HEAD", "OPTIONS"}
_UPLOAD_PATH = "/v1/inspect"
_SMALL_BODY = 1 << 16  # bytes of any other body
_ADDRESSES = 10_000
_DRAIN_SECONDS = 10.0
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class RateLimiter:
    """One token bucket per address; the least recently used ones are dropped."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Count a request; return 0 if it is allowed, else the seconds to wait."""
        if not self._rate:
            return 0.0
        level, then = self._buckets.pop(address, (float(self._burst), now))
        level = min(self._burst, level + (now - then) * self._rate)
        allowed = level >= 1
        self._buckets[address] = (level - allowed, now)
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - level) / self._rate


class Guard:
    """ASGI middleware: refuses requests without access, and limits body size and rate.

    `tokens` are those of `read_tokens`.
    """

    def __init__(
        self, app: ASGIApp, tokens: AccessTokens | None, limits: Limits, public: PublicAddress
    ) -> None:
        self._app = app
        self._public = public
        self._tokens = tokens
        self._limits = limits
        self._rate = RateLimiter(limits.rate, limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        scope["root_path"] = self._public.root_path
        headers = Headers(scope=scope)
        # Whether more of the body may arrive. A client that expects "100 Continue" has sent none.
        pending = "expect" not in headers and (
            "content-length" in headers or "transfer-encoding" in headers
        )
        arriving = True  # until the last of the body
        body_ends = asyncio.get_running_loop().time() + self._limits.deadline
        received = 0
        begun = False  # whether the response has

        async def receive_bounded() -> Message:
            nonlocal received, pending, arriving
            try:
                async with asyncio.timeout_at(body_ends if arriving else None):
                    message = await receive()
            except TimeoutError as error:
                pending = False
                raise HTTPException(
                    408, f"The body did not arrive within {self._limits.deadline:g} seconds."
                ) from error
            pending = arriving = message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._most_bytes(scope):
                raise self._too_large(scope)
            return message

        async def send_guarded(message: Message) -> None:
            nonlocal pending, begun
            begun = True
            if message["type"] == "http.response.start":
                # If we closed while the client sends, it would see a reset and not the response.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_DRAIN_SECONDS):
                        while pending:
                            pending = (await receive()).get("more_body", False)
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered[name] = value
            await send(message)

        answer: JSONResponse
        try:
            self._check(scope, headers)
            await self._app(scope, receive_bounded, send_guarded)
            return
        except HTTPException as error:
            answer = refusal(error)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            message = "The service failed on this request; see its log."
            answer = JSONResponse(error_body("InternalError", message), 500)
        if not begun:
            await answer(scope, receive, send_guarded)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if self._public.route(scope["path"]) in _OPEN_PATHS and scope["method"] in _READING:
            return
        client = scope["client"][0] if scope["client"] else ""
        if wait := self._rate.wait(client, time.monotonic()):
            raise HTTPException(
                429, "Too many requests; slow down.", {"Retry-After": str(int(wait) + 1)}
            )
        host = headers.get("host", "")
        if self._tokens is None:
            # Against DNS rebinding: another site's name may be made to resolve to this machine.
            if not _names_loopback(host) and host.lower() != self._public.host:
                raise HTTPException(
                    403,
                    "Without a token, only requests to localhost are served. Behind a proxy that "
                    "passes the Host header on, start the service with --public-origin.",
                )
        elif not self._tokens.known(_shown(headers.get("authorization", ""))):
            raise HTTPException(
                401,
                "Send the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": 'Basic realm="flawsight, token as password"'},
            )
        if scope["method"] not in _READING:
            self._check_origin(headers, host)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            raise HTTPException(400, "Content-Length is not a number.")
        if len(length) > 20 or int(length) > self._most_bytes(scope):
            raise self._too_large(scope)

    def _check_origin(self, headers: Headers, host: str) -> None:
        """Refuse cross-site request forgery: browsers attach a known password to any form."""
        # A page cannot set this header, and a proxy may have changed Host. Browsers leave it out
        # without TLS, except to loopback.
        site = headers.get("sec-fetch-site")
        if site == "same-origin":
            return
        origin = headers.get("origin")
        own = origin in (None, self._public.origin) or str(origin).partition("://")[2] == host
        if site not in (None, "none") or not own:
            raise HTTPException(
                403,
                "Requests from pages of other sites are refused. If this is the service's own page "
                "behind a proxy, start the service with --public-origin.",
            )

    def _most_bytes(self, scope: Scope) -> int:
        """Return the bytes that a body may have; photos are counted in the memory of all."""
        uploads = self._public.route(scope["path"]) == _UPLOAD_PATH
        return self._limits.body_bytes if uploads else min(_SMALL_BODY, self._limits.body_bytes)

    def _too_large(self, scope: Scope) -> HTTPException:
        return HTTPException(
            413, f"This request may have at most {self._most_bytes(scope):,} bytes; send less."
        )


def _shown(authorization: str) -> str:
    """Return the token of a Bearer or, for browsers, Basic header."""
    scheme, _, sent = authorization.partition(" ")
    shown = sent if scheme.lower() == "bearer" else ""
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            shown = base64.b64decode(sent, validate=True).decode().partition(":")[2]
    return shown.strip()


def _names_loopback(host: str) -> bool:
    """Return whether a Host header, which may be malformed, names a loopback address."""
    with contextlib.suppress(ValueError):
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    return False


def error_body(kind: str, message: str) -> dict[str, dict[str, str]]:
    """Return the body of every error."""
    return {"error": {"kind": kind, "message": message}}


def refusal(error: HTTPException) -> JSONResponse:
    """Return the response to a refused request."""
    return JSONResponse(error_body("Refused", error.detail), error.status_code, error.headers)
