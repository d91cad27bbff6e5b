"""The route of reloads, and what SIGHUP does."""

import asyncio
import contextlib
import logging

from fastapi import FastAPI

from ..errors import BusyError, ServeError
from . import schemas
from .answers import refusals
from .one_change import alone
from .service import Service

_log = logging.getLogger(__name__)


def add_reload(app: FastAPI) -> None:
    """Add the route /v1/reload."""

    @app.post("/v1/reload", responses=refusals(503))
    async def reload() -> schemas.ReloadBody:
        """Read the adapter, the references and the calibrations again.

        They are tried first; if one is at fault, the status is 422 and all stays as it was.
        Requests that have come keep what they came to.
        """
        service: Service = app.state.service
        setup = await alone(service, service.reloader.reload)
        return schemas.ReloadBody(
            model=setup.about.get("model"),
            model_sha256=setup.about.get("model_sha256"),
            thresholds=dict(setup.thresholds),
            references={one.name: one.sha256 for one in setup.references.products},
        )


class ReloadOnSignal:
    """What a signal handler calls; before the service runs, and once it stops, nothing."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self) -> None:
        """Reload soon."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        task = self._loop.create_task(self._reload())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _reload(self) -> None:
        service: Service = self._app.state.service
        try:
            await alone(service, service.reloader.reload)
        except BusyError as error:
            _log.warning("Nothing was reloaded: %s", error)
        except ServeError:
            pass  # is logged
