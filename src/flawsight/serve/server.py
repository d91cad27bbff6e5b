"""uvicorn, told to refuse what waits as soon as it is asked to stop."""

import contextlib
import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from .limits import Limits

# What runs when the service is stopped has this long to end, in seconds.
_GRACE = 60


class Server(uvicorn.Server):
    """Serves an app of `create_app`; SIGTERM ends it in order."""

    def __init__(self, app: FastAPI, host: str, port: int, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http="h11",
                ws="none",
                lifespan="on",
                limit_concurrency=limits.connections,
                timeout_graceful_shutdown=_GRACE,
                server_header=False,
                # The rate is of the address that connects, not of one that a header claims.
                proxy_headers=False,
            )
        )
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what runs, and refuse what waits."""
        if self.started:
            self._app.state.service.batcher.close_soon()
        super().handle_exit(sig, frame)


def serve_app(app: FastAPI, host: str, port: int, limits: Limits) -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal once more when it is done; to have been asked is no failure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        Server(app, host, port, limits).run()
