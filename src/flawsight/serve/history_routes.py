"""Routes of past inspections and their reviews."""

from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import FastAPI, Query
from fastapi.responses import Response
from pydantic import AwareDatetime

from . import schemas
from .answers import Id, file_of, found, json_of, refusals, row_of, sends
from .photo_memory import HeldResponse
from .rendered_files import MEDIA_TYPES, photo_type, read, render_view
from .service import Service
from .store import Query as Search
from .stored_rows import page_json, row_json

Score = Annotated[float | None, Query(ge=0, le=1)]


def add_history(app: FastAPI) -> None:
    """Add the routes."""
    one: dict[str, Any] = {
        "response_model": schemas.InspectionBody, "responses": refusals(404, 413, 503)
    }  # fmt: skip

    @app.get(
        "/v1/inspections", response_model=schemas.InspectionsBody, responses=refusals(413, 503)
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
        no_product: Annotated[
            bool, Query(description="Only inspections that name no product.")
        ] = False,
        reviewed: bool | None = None,
        disagreement: bool | None = None,
        order: Annotated[
            Literal["newest", "uncertain"],
            Query(description="Uncertain first: scores nearest to their threshold, on one page."),
        ] = "newest",
        before: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> Response:
        """Search past inspections, in pages.

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
            no_product=no_product,
            reviewed=reviewed,
            contradiction=disagreement,
            uncertain_first=order == "uncertain",
            before=before,
            limit=limit,
        )

        def read_page() -> bytes:
            return page_json(service.store.page(search, service.limits.page_bytes))

        return json_of(service, await service.ask(read_page, limiter=service.listing))

    @app.get("/v1/inspections/{id}", **one)
    async def inspection(id: Id) -> Response:
        """Return one inspection."""
        return json_of(app.state.service, row_json(await row_of(app, id)))

    @app.get("/v1/inspections/{id}/photo", response_class=Response, responses=sends("image/*"))
    async def photo(id: Id) -> Response:
        """Return the photo as it was uploaded."""
        row = await row_of(app, id)
        service: Service = app.state.service
        path = service.store.files.folder(id) / "photo"
        content = await to_thread.run_sync(read, path, limiter=service.rendering)
        return HeldResponse(service.held, content, media_type=photo_type(row))

    @app.get(
        "/v1/inspections/{id}/view", response_model=dict[str, Any], responses=refusals(404, 503)
    )
    async def view(id: Id) -> Response:
        """Return the data that the page at / shows, with the maps as small grids of bytes."""
        row = await row_of(app, id)
        service: Service = app.state.service
        folder = service.store.files.folder(id)
        pictures = service.references.pictures(row.product)
        content = await to_thread.run_sync(
            render_view, folder, row, pictures, limiter=service.rendering
        )
        return json_of(service, content)

    @app.get(
        "/v1/inspections/{id}/{what}",
        response_class=Response,
        responses=sends(*sorted(set(MEDIA_TYPES.values()))),
    )
    async def file(id: Id, what: schemas.File) -> Response:
        """Return the map (16-bit PNG, or npz with the token maps), the overlay or the photo.

        thumb.jpg is a small version of the overlay.
        """
        content = await file_of(app.state.service, await row_of(app, id), what)
        return HeldResponse(app.state.service.held, content, media_type=MEDIA_TYPES[what])

    @app.put("/v1/inspections/{id}/review", **one)
    async def review(id: Id, request: schemas.ReviewRequest) -> Response:
        """Mark a verdict right or wrong; the latest review counts."""
        service: Service = app.state.service
        row = await service.ask(service.store.review, id, request.verdict == "right")
        return json_of(service, row_json(found(row)))

    @app.delete("/v1/inspections/{id}/review", **one)
    async def unreview(id: Id) -> Response:
        """Take a review back."""
        service: Service = app.state.service
        row = await service.ask(service.store.unreview, id)
        return json_of(service, row_json(found(row)))
