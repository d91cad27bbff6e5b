"""Routes of the references: what good photos a product is compared with, and their changes."""

from collections.abc import Awaitable
from typing import Annotated

from fastapi import FastAPI, Path
from fastapi.responses import Response

from . import schemas
from .answers import Id, refusals, row_of, sends
from .learning import add_photo, forget_photo
from .photo_memory import HeldResponse
from .references import Product
from .service import Service

Name = Annotated[str, Path(description="A product with a reference.", max_length=200)]


def add_references(app: FastAPI) -> None:
    """Add the routes."""

    @app.get("/v1/references", responses=refusals())
    async def references() -> schemas.ReferencesBody:
        """Return the references that the service inspects with now, by product."""
        return schemas.ReferencesBody(
            references=[_body(app, one) for one in app.state.service.references.products]
        )

    @app.get("/v1/references/{product}", responses=refusals(404))
    async def reference(product: Name) -> schemas.ReferenceBody:
        """Return the reference of a product, its photos as they were learned."""
        return _body(app, app.state.service.references.named(product))

    @app.get(
        "/v1/references/{product}/photos/{id}", response_class=Response,
        responses=sends("image/png"),
    )  # fmt: skip
    async def picture(product: Name, id: Id) -> Response:
        """Return a photo of a reference, at the size that the model sees."""
        service: Service = app.state.service
        photo = service.references.named(product).photo(id)
        return HeldResponse(service.held, photo.picture, media_type="image/png")

    @app.post("/v1/references/{product}/photos", responses=refusals(404, 409, 413, 503))
    async def add(product: Name, request: schemas.GoodPhotoRequest) -> schemas.ReferenceBody:
        """Learn the photo of an inspection that was reviewed as good.

        All photos of the product are learned again, which takes about as long as inspecting them
        once without words. Later images are compared with the new reference.
        """
        row = await row_of(app, request.inspection)
        return await _changed(app, product, "added", add_photo(app.state.service, product, row))

    @app.delete("/v1/references/{product}/photos/{id}", responses=refusals(404, 409, 503))
    async def forget(product: Name, id: Id) -> schemas.ReferenceBody:
        """Take a photo out of a reference, as if it had never been learned."""
        changing = forget_photo(app.state.service, product, id)
        return await _changed(app, product, "forgotten", changing)


async def _changed(
    app: FastAPI, product: str, outcome: str, changing: Awaitable[Product]
) -> schemas.ReferenceBody:
    metrics = app.state.metrics
    known = product in {one.name for one in app.state.service.references.products}
    try:
        changed = await changing
    except Exception:
        if known:  # the metrics have no more labels than there are products
            metrics.changes.labels(product, "failed").inc()
        raise
    metrics.changes.labels(product, outcome).inc()
    metrics.show_references(app.state.service.references.products)
    return _body(app, changed)


def _body(app: FastAPI, product: Product) -> schemas.ReferenceBody:
    scores = product.scores or (None,) * len(product.ids)
    return schemas.ReferenceBody(
        product=product.name,
        sha256=product.sha256,
        threshold=product.threshold,
        calibrated=product.calibrated,
        most=app.state.service.limits.good_photos,
        photos=[
            schemas.GoodPhotoBody(id=id, name=photo.name, score=score)
            for id, photo, score in zip(product.ids, product.reference.photos, scores, strict=True)
        ],
    )
