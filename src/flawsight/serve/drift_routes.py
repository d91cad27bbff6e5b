"""The route of drift."""

from datetime import UTC, datetime

from fastapi import FastAPI

from . import schemas
from .answers import refusals
from .drift import Drift, Weeks
from .service import Service


def add_drift(app: FastAPI) -> None:
    """Add the route /v1/drift."""

    @app.get("/v1/drift", responses=refusals(503))
    async def drift() -> schemas.DriftsBody:
        """Compare the scores of each product's latest week with those of its reference weeks.

        It is computed once a day, as of the end of yesterday (UTC).
        """
        service: Service = app.state.service
        found = await service.ask(service.drift.look, limiter=service.listing)
        return schemas.DriftsBody(products=[_body(one) for one in found])


def _body(drift: Drift) -> schemas.DriftBody:
    return schemas.DriftBody(
        product=drift.product,
        latest=_weeks(drift.latest),
        reference=_weeks(drift.reference),
        distance=drift.distance,
        p_value=drift.p_value,
        drifted=drift.drifted,
    )


def _weeks(weeks: Weeks | None) -> schemas.WeeksBody | None:
    if weeks is None:
        return None
    return schemas.WeeksBody(
        since=_time(weeks.since_ms),
        until=_time(weeks.until_ms),
        count=weeks.count,
        defective=weeks.defective,
        median=weeks.median,
        histogram=list(weeks.histogram),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
