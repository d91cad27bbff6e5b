"""The routes."""

import asyncio
import contextlib
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .. import __version__
from ..errors import (
    AnswerError,
    BusyError,
    FlawsightError,
    ImageError,
    LearnError,
    ServeError,
    StoreError,
)
from . import schemas
from .access import Guard, error_body, refusal
from .access_tokens import AccessTokens
from .answers import file_of, refusals
from .batching import Batcher, InspectBatch, Outcome, inspect_separately
from .drift_routes import add_drift
from .drift_watch import DriftWatch
from .history_routes import add_history
from .inspection_setup import Setup
from .limits import Limits
from .monitoring import add_monitoring
from .one_change import alone
from .page import add_page
from .photo_memory import ByteBudget, HeldResponse, PixelBudget, inspect_bounded
from .product_routes import add_products
from .prometheus import CountRequests, Metrics
from .public_address import PublicAddress
from .reference_routes import add_references
from .references import NO_REFERENCES, References
from .reload_routes import ReloadOnSignal, add_reload
from .reloading import Reloader, Reloads, reload_changed
from .saved_rois import SavedRois
from .saved_thresholds import SavedThresholds
from .service import Failure, Service
from .store import Store
from .uploads import explanation

_PRUNE_SECONDS = 60.0
_log = logging.getLogger(__name__)

_JSON = schemas.InspectRequest.model_json_schema()
_JSON["properties"]["images"]["items"] = _JSON.pop("$defs")["UploadedImage"]
_FORM = {
    "type": "object",
    "required": ["images"],
    "additionalProperties": False,
    "properties": {
        "images": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
        "product": {"type": "string", "maxLength": 200, "description": schemas.PRODUCT},
    },
}
_BODY = {
    "multipart/form-data": {"schema": _FORM},
    "application/json": {"schema": _JSON},
    "image/*": {"schema": {"type": "string", "format": "binary"}},
}
_UPLOAD: dict[str, Any] = {"requestBody": {"required": True, "content": _BODY}}


def create_app(
    inspect_batch: InspectBatch,
    batch_size: int,
    store: Store,
    limits: Limits,
    tokens: AccessTokens | None = None,
    thresholds: Mapping[str, float] | None = None,
    about: Mapping[str, Any] | None = None,
    public: PublicAddress = PublicAddress(),  # noqa: B008
    references: References = NO_REFERENCES,
    reloads: Reloads | None = None,
    cut_to: Callable[[str], InspectBatch] | None = None,
) -> FastAPI:
    """Make the service.

    `inspect_batch` and `batch_size` are the Inspector's, `tokens` are those of `read_tokens`, and
    `store` is closed with the service. For `thresholds`, `about` and `cut_to` see `Setup`. If there
    are `references`, each image is inspected with that of its product instead.
    """
    metrics = Metrics()
    reloader = Reloader(
        Setup(inspect_batch, thresholds or {}, about or {}, references, cut_to),
        reloads,
        metrics.on_reload,
    )
    metrics.show_references(references.products)
    bit_depth = (about or {}).get("bit_depth")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pixels = PixelBudget(limits.pixels)

        def run(inspect_batch: InspectBatch, images: Sequence[Image.Image]) -> list[Outcome]:
            bounded = partial(
                inspect_bounded, inspect_batch, pixels, limits.inspected_pixels, bit_depth
            )
            return inspect_separately(bounded, images)

        batcher = Batcher(batch_size, limits.slots, metrics.on_batch, run)
        metrics.in_flight.set_function(lambda: batcher.in_flight)
        app.state.service = service = Service(
            batcher=batcher,
            store=store,
            limits=limits,
            reloader=reloader,
            rendering=CapacityLimiter(2),
            listing=CapacityLimiter(2),
            pixels=pixels,
            held=ByteBudget(limits.held_bytes),
            changing=asyncio.Lock(),
            drift=DriftWatch(store, limits.keep, metrics.show_drift),
            saved=SavedThresholds(store),
            rois=SavedRois(store),
        )
        for values in (service.saved, service.rois):
            await values.could_read()  # before the first request
        running = (
            _prune(store, limits.keep), service.drift.keep_looking(), service.saved.keep_reading(),
            service.rois.keep_reading(),
        )  # fmt: skip
        tasks = [asyncio.create_task(one) for one in running]
        if reloads is not None and reloads.by_themselves:
            watching = reload_changed(reloader, partial(alone, service, reloader.reload_if_changed))
            tasks.append(asyncio.create_task(watching))
        app.state.reload_soon = ReloadOnSignal(app)
        yield
        for task in tasks:
            task.cancel()
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
    add_history(app)
    add_references(app)
    add_reload(app)
    add_drift(app)
    add_products(app)
    add_monitoring(app)
    add_page(app)
    return app


def _add_inspection(app: FastAPI) -> None:
    @app.post(
        "/v1/inspect",
        openapi_extra=_UPLOAD,
        response_model=schemas.InspectBody,
        responses=refusals(413, 415, 504)
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
        product: Annotated[
            schemas.Label | None, Query(description=f"{schemas.PRODUCT} The body may name it too.")
        ] = None,
    ) -> Response:
        """Inspect one or more images.

        An image that fails has an error instead of a result. The status is 200 unless all fail.
        Then it is 422 if the images are at fault, 503 if the service is stopping, and 500 if the
        model failed.
        """
        service: Service = app.state.service
        results = await service.inspect(request, deadline, product)
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
                    files[what] = b64encode(await file_of(service, result, what)).decode()
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
    return 422 if isinstance(error, ImageError | AnswerError | LearnError | ServeError) else 500


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
