"""uvicorn with signals of its own.

SIGTERM finishes the running batch and refuses waiting images; SIGHUP reloads, without a terminal.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from .connections import bounded_protocol
from .limits import Limits

_log = logging.getLogger(__name__)
# Seconds for requests to finish after SIGTERM, and then for threads that nobody waits for.
_GRACE, _HANGING_SECONDS = 60, 2.0


class Server(uvicorn.Server):
    """Serves an app of `create_app`; SIGTERM stops it gracefully."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let the running batch finish and refuse waiting images."""
        app: Any = self.config.app
        if self.started:
            app.state.service.batcher.close_soon()
        super().handle_exit(sig, frame)


def make_server(app: FastAPI, host: str, port: int, limits: Limits) -> Server:
    """Return the server of an app."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=bounded_protocol(limits),
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE,
        server_header=False,
        # Rate limits apply to the connecting address; a header could claim any.
        proxy_headers=False,
    )
    return Server(config)


def serve_app(app: FastAPI, host: str, port: int, limits: Limits) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = make_server(app, host, port, limits)
    # Windows has no SIGHUP. With a terminal it says that the terminal was closed.
    if hasattr(signal, "SIGHUP") and not (sys.stdin and sys.stdin.isatty()):
        signal.signal(signal.SIGHUP, lambda *_: getattr(app.state, "reload_soon", lambda: None)())
    # uvicorn raises the signal again when it is done, which must not look like a failure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    _leave_what_hangs()


def _leave_what_hangs() -> None:
    """End the process if a thread still waits for a database that hangs.

    Python would wait for it, which may be for ever. Nothing of it was acknowledged.
    """
    end = time.monotonic() + _HANGING_SECONDS
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    for thread in others:
        if not thread.daemon:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                _log.warning("A thread still waits for the store; the service ends without it.")
                logging.shutdown()
                os._exit(0)
