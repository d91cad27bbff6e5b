"""What several routes answer with: rows, files and refusals."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, Path
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from . import schemas
from .database import InspectionRow
from .photo_memory import HeldResponse
from .rendered_files import render
from .service import Service

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of refusals with the usual statuses and these."""
    return {status: {"model": schemas.ErrorBody} for status in (400, 401, 403, 422, 429, *statuses)}


def sends(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of a file of one of these media types."""
    return {200: {"content": {kind: {} for kind in kinds}}} | refusals(404, 503)


async def row_of(app: FastAPI, id: str) -> InspectionRow:
    """Return a row of the store, or answer 404."""
    return found(await app.state.service.ask(app.state.service.store.get, id))


def found(row: InspectionRow | None) -> InspectionRow:
    """Return the row, or answer 404."""
    if row is None:
        raise HTTPException(404, "There is no inspection with this id.")
    return row


async def file_of(service: Service, row: InspectionRow, what: schemas.File) -> bytes:
    """Return a file made of an inspection, within the budget of pixels."""
    folder = service.store.files.folder(row.id)
    return await to_thread.run_sync(
        render, folder, row, what, service.pixels, limiter=service.rendering
    )


def json_of(service: Service, content: bytes) -> Response:
    """Return a response of JSON."""
    return HeldResponse(service.held, content, media_type="application/json")
