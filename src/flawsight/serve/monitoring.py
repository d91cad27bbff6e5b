"""The routes for those who watch over the service."""

import asyncio

from anyio import to_thread
from fastapi import FastAPI
from fastapi.responses import Response

from ..errors import BusyError
from . import schemas
from .service import Service, answer

_READY_SECONDS = 10.0


def add_monitoring(app: FastAPI) -> None:
    """Add the routes /healthz, /readyz and /metrics."""
    checking: asyncio.Task[None] | None = None

    @app.get("/healthz")
    async def healthz() -> schemas.Status:
        """Report that the process is alive."""
        return schemas.Status(status="ok")

    @app.get(
        "/readyz", responses={503: {"model": schemas.ErrorBody}}, response_model_exclude_none=True
    )
    async def readyz() -> schemas.Readiness:
        """Report whether images can be inspected and stored now."""
        service: Service = app.state.service
        if not service.batcher.alive:
            raise BusyError("The service is stopping.")
        nonlocal checking  # anybody may ask: one check at a time answers all who wait
        if checking is None or checking.done():
            checking = asyncio.create_task(to_thread.run_sync(service.store.check))
        await answer(checking, _READY_SECONDS)
        refused = service.reloader.refused
        return schemas.Readiness(status="ready", reload="refused" if refused else None)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(app.state.metrics.text(), media_type="text/plain; version=0.0.4")
