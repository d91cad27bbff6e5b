"""The routes."""

import asyncio
import contextlib
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .. import __version__
from ..errors import AnswerError, BusyError, FlawsightError, ImageError, StoreError
from . import schemas
from .access import Guard, error_body, refusal
from .access_tokens import AccessTokens
from .batching import Batcher, InspectBatch
from .database import InspectionRow
from .limits import Limits
from .monitoring import add_monitoring
from .page import add_page
from .photo_memory import ByteBudget, HeldResponse, PixelBudget, inspect_bounded
from .prometheus import CountRequests, Metrics
from .public_address import PublicAddress
from .rendered_files import MEDIA_TYPES, photo_type, read, render, render_view
from .service import Failure, Service
from .store import Query as Search
from .store import Store
from .stored_rows import page_json, row_json
from .uploads import explanation

_PRUNE_SECONDS = 60.0
_log = logging.getLogger(__name__)

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Score = Annotated[float | None, Query(ge=0, le=1)]
_JSON = schemas.InspectRequest.model_json_schema()
_JSON["properties"]["images"]["items"] = _JSON.pop("$defs")["UploadedImage"]
_FORM = {
    "type": "object",
    "required": ["images"],
    "additionalProperties": False,
    "properties": {
        "images": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
        "product": {"type": "string", "maxLength": 200},
    },
}
_BODY = {
    "multipart/form-data": {"schema": _FORM},
    "application/json": {"schema": _JSON},
    "image/*": {"schema": {"type": "string", "format": "binary"}},
}
_UPLOAD: dict[str, Any] = {"requestBody": {"required": True, "content": _BODY}}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": schemas.ErrorBody} for status in (400, 401, 403, 422, 429, *statuses)}


def _sends(*kinds: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {kind: {} for kind in kinds}}} | _refusals(404, 503)


def create_app(
    inspect_batch: InspectBatch,
    batch_size: int,
    store: Store,
    limits: Limits,
    tokens: AccessTokens | None = None,
    thresholds: Mapping[str, float] | None = None,
    about: Mapping[str, Any] | None = None,
    public: PublicAddress = PublicAddress(),  # noqa: B008
) -> FastAPI:
    """Make the service.

    `inspect_batch` and `batch_size` are the Inspector's, `tokens` are those of `read_tokens`, and
    `store` is closed with the service. For `thresholds` and `about` see `Service`.
    """
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pixels = PixelBudget(limits.pixels)
        bit_depth = (about or {}).get("bit_depth")
        bounded = partial(
            inspect_bounded, inspect_batch, pixels, limits.inspected_pixels, bit_depth
        )
        batcher = Batcher(bounded, batch_size, limits.slots, metrics.on_batch)
        metrics.in_flight.set_function(lambda: batcher.in_flight)
        app.state.service = Service(
            batcher=batcher,
            store=store,
            limits=limits,
            thresholds=thresholds or {},
            about=about or {},
            rendering=CapacityLimiter(2),
            listing=CapacityLimiter(2),
            pixels=pixels,
            held=ByteBudget(limits.held_bytes),
        )
        pruning = asyncio.create_task(_prune(store, limits.keep))
        yield
        pruning.cancel()
        await batcher.stop()
        store.close()

    # FastAPI's own pages of the API load scripts from other sites; page.py has one that does not.
    # Its redirects of a trailing slash name the host that a proxy asked for.
    app = FastAPI(
        title="flawsight", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.metrics = metrics
    app.add_middleware(Guard, tokens=tokens, limits=limits, public=public)
    app.add_middleware(CountRequests, metrics=metrics)
    for kind in (HTTPException, RequestValidationError, FlawsightError, ClientDisconnect,
                 TimeoutError):  # fmt: skip
        app.add_exception_handler(kind, _refuse)
    _add_inspection(app)
    _add_history(app)
    add_monitoring(app)
    add_page(app)
    return app


def _add_inspection(app: FastAPI) -> None:
    @app.post(
        "/v1/inspect",
        openapi_extra=_UPLOAD,
        response_model=schemas.InspectBody,
        responses=_refusals(413, 415, 504)
        | {
            status: {"model": schemas.InspectBody | schemas.ErrorBody} for status in (422, 500, 503)
        },
    )
    async def inspect(
        request: Request,
        include: Annotated[
            list[schemas.File],
            Query(description="Files to include with each inspection, in base64."),
        ] = [],  # noqa: B006
        deadline: Annotated[
            float | None, Query(gt=0, description="Seconds after which the request fails.")
        ] = None,
    ) -> Response:
        """Inspect one or more images.

        An image that fails has an error instead of a result. The status is 200 unless all fail.
        Then it is 422 if the images are at fault, 503 if the service is stopping, and 500 if the
        model failed.
        """
        service: Service = app.state.service
        results = await service.inspect(request, deadline)
        bodies: list[schemas.InspectionBody | schemas.FailedImage] = []
        with service.held.hold() as hold:
            for result in results:
                if isinstance(result, Failure):
                    bodies.append(_failed(result, app.state.metrics))
                    continue
                verdict = "defective" if result.pred_label else "good"
                app.state.metrics.images.labels(verdict).inc()
                files = {}
                for what in dict.fromkeys(include):
                    files[what] = b64encode(await _file(service, result, what)).decode()
                    hold(3 * len(files[what]))  # in the body, as JSON, and as bytes
                bodies.append(schemas.inspection_body(result, files))
            failures = [result.error for result in results if isinstance(result, Failure)]
            status = 200 if len(failures) < len(results) else max(map(_status, failures))
            content = schemas.InspectBody(results=bodies).model_dump_json().encode()
        return HeldResponse(
            service.held, content, status_code=status, headers=_headers(app, status),
            media_type="application/json",
        )  # fmt: skip


def _failed(result: Failure, metrics: Metrics) -> schemas.FailedImage:
    kind = type(result.error).__name__
    metrics.images.labels(kind).inc()
    detail = error_body(kind, str(result.error))
    return schemas.FailedImage.model_validate({"name": result.name, **detail})


def _add_history(app: FastAPI) -> None:
    one: dict[str, Any] = {
        "response_model": schemas.InspectionBody, "responses": _refusals(404, 413, 503)
    }  # fmt: skip

    @app.get(
        "/v1/inspections", response_model=schemas.InspectionsBody, responses=_refusals(413, 503)
    )
    async def inspections(
        since: Annotated[
            AwareDatetime | None, Query(description="Earliest time, inclusive.")
        ] = None,
        until: Annotated[AwareDatetime | None, Query(description="Latest time, exclusive.")] = None,
        verdict: Literal["good", "defective"] | None = None,
        min_score: Score = None,
        max_score: Score = None,
        product: schemas.Label | None = None,
        reviewed: bool | None = None,
        before: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> Response:
        """Search past inspections, newest first, in pages.

        A page of large inspections ends before the limit; `next` is null on the last page alone.
        """
        service: Service = app.state.service
        search = Search(
            since_ms=None if since is None else int(since.timestamp() * 1000),
            until_ms=None if until is None else int(until.timestamp() * 1000),
            defective=None if verdict is None else verdict == "defective",
            min_score=min_score,
            max_score=max_score,
            product=product,
            reviewed=reviewed,
            before=before,
            limit=limit,
        )

        def read_page() -> bytes:
            return page_json(service.store.page(search, service.limits.page_bytes))

        return _json(service, await service.ask(read_page, limiter=service.listing))

    @app.get("/v1/inspections/{id}", **one)
    async def inspection(id: Id) -> Response:
        """Return one inspection."""
        return _json(app.state.service, row_json(await _row(app, id)))

    @app.get("/v1/inspections/{id}/photo", response_class=Response, responses=_sends("image/*"))
    async def photo(id: Id) -> Response:
        """Return the photo as it was uploaded."""
        row = await _row(app, id)
        service: Service = app.state.service
        path = service.store.files.folder(id) / "photo"
        content = await to_thread.run_sync(read, path, limiter=service.rendering)
        return HeldResponse(service.held, content, media_type=photo_type(row))

    @app.get(
        "/v1/inspections/{id}/view", response_model=dict[str, Any], responses=_refusals(404, 503)
    )
    async def view(id: Id) -> Response:
        """Return the data that the page at / shows, with the maps as small grids of bytes."""
        row = await _row(app, id)
        service: Service = app.state.service
        folder = service.store.files.folder(id)
        content = await to_thread.run_sync(render_view, folder, row, limiter=service.rendering)
        return _json(service, content)

    @app.get(
        "/v1/inspections/{id}/{what}",
        response_class=Response,
        responses=_sends(*sorted(set(MEDIA_TYPES.values()))),
    )
    async def file(id: Id, what: schemas.File) -> Response:
        """Return the map (16-bit PNG, or npz with the token maps), the overlay or the photo.

        thumb.jpg is a small version of the overlay.
        """
        content = await _file(app.state.service, await _row(app, id), what)
        return HeldResponse(app.state.service.held, content, media_type=MEDIA_TYPES[what])

    @app.put("/v1/inspections/{id}/review", **one)
    async def review(id: Id, request: schemas.ReviewRequest) -> Response:
        """Mark a verdict right or wrong; the latest review counts."""
        service: Service = app.state.service
        row = await service.ask(service.store.review, id, request.verdict == "right")
        return _json(service, row_json(_found(row)))


async def _row(app: FastAPI, id: str) -> InspectionRow:
    return _found(await app.state.service.ask(app.state.service.store.get, id))


def _found(row: InspectionRow | None) -> InspectionRow:
    if row is None:
        raise HTTPException(404, "There is no inspection with this id.")
    return row


async def _file(service: Service, row: InspectionRow, what: schemas.File) -> bytes:
    folder = service.store.files.folder(row.id)
    return await to_thread.run_sync(
        render, folder, row, what, service.pixels, limiter=service.rendering
    )


def _json(service: Service, content: bytes) -> Response:
    return HeldResponse(service.held, content, media_type="application/json")


async def _prune(store: Store, keep: int) -> None:
    """Keep the store within its limit; at the start, remove what a killed process left."""
    swept = False
    while True:
        try:
            if not swept:
                await to_thread.run_sync(store.sweep)
                swept = True
            await to_thread.run_sync(store.prune, keep)
        except StoreError as error:
            _log.warning("Cannot prune the store: %s", error)
        await asyncio.sleep(_PRUNE_SECONDS)


def _status(error: Exception) -> int:
    """Return the status of a response that holds only this error."""
    if isinstance(error, TimeoutError):
        return 504
    if isinstance(error, BusyError | StoreError):
        return 503
    return 422 if isinstance(error, ImageError | AnswerError) else 500


def _headers(app: FastAPI, status: int) -> dict[str, str]:
    busy = status in (503, 504)
    return {"Retry-After": str(app.state.service.batcher.retry_after)} if busy else {}


async def _refuse(request: Request, error: Exception) -> Response:
    """Respond with an error body."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # for the metrics only
    if isinstance(error, HTTPException):
        return refusal(error)
    if isinstance(error, RequestValidationError):
        return JSONResponse(error_body("Refused", explanation(error.errors())), 422)
    status = _status(error)
    message = "The deadline has passed." if status == 504 else str(error)
    headers = _headers(request.app, status)
    return JSONResponse(error_body(type(error).__name__, message), status, headers)
