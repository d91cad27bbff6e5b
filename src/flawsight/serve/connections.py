"""uvicorn's HTTP/1.1 protocol with bounds on clients that keep it waiting.

uvicorn counts connections and then answers 503 to all, health checks included, and it waits for the
head of a request for ever. Here a connection that waits for its client makes room for a new one.
"""

import asyncio
import json
from collections import Counter
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .access import HEADERS, error_body
from .limits import Limits

# Connections above the limit that are served if none waits for its client.
_RESERVE = 32


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._late: asyncio.TimerHandle | None = None
        self._blocked = False
        self._heard = False
        self._waits_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, and make room for this connection."""
        super().connection_made(transport)
        self._waits_since = self.loop.time()
        self._watch()
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; the time for its head runs from the first."""
        self._heard = True
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that does not read its response, but not for ever."""
        self._blocked = True
        self._stop_watching()
        self._late = self.loop.call_later(self._limits.deadline, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on writing."""
        self._blocked = False
        self._stop_watching()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, msg)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if self._answering:
            if not self._blocked:
                self._stop_watching()
        elif self._late is None:
            self._waits_since = self.loop.time()
            self._late = self.loop.call_later(self._limits.head_seconds, self._head_is_late)

    def _stop_watching(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        if self._heard:
            seconds = self._limits.head_seconds
            self._refuse(408, f"The head of the request did not arrive within {seconds:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps(error_body("Refused", message)).encode()
        headers = HEADERS | {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        reason = HTTPStatus(status).phrase
        response = h11.Response(status_code=status, headers=list(headers.items()), reason=reason)
        try:
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # a response has begun
        self.transport.close()

    def _waits(self) -> bool:
        """Return whether the client has to send or to read something."""
        return not self._answering or self.cycle.more_body or self._blocked

    def _make_room(self) -> None:
        """Close the connection that waits longest, of the address with the most that wait."""
        waiting = [
            one
            for one in self.connections
            if isinstance(one, BoundedProtocol) and one is not self and one._waits()
        ]
        if waiting:
            (address, _), *_ = Counter(one._address for one in waiting).most_common(1)
            theirs = [one for one in waiting if one._address == address]
            min(theirs, key=lambda one: one._waits_since).transport.abort()
        elif len(self.connections) > self._limits.connections + _RESERVE:
            self.transport.abort()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""


def bounded_protocol(limits: Limits) -> Any:
    """Return what uvicorn takes for `http`."""
    return partial(BoundedProtocol, limits=limits)
