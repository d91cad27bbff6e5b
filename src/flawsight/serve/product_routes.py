"""Routes of the products: counts, thresholds with their effect, and regions of interest."""

from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI, Query
from starlette.exceptions import HTTPException

from ..errors import SettingsError
from ..roi import in_pixels
from . import schemas
from .answers import refusals
from .database import made_with
from .service import Line, Service
from .stored_products import ProductCounts, product_counts, threshold_effect

Name = Annotated[
    schemas.Label | None, Query(description="Product; without it, inspections that name none.")
]


def add_products(app: FastAPI) -> None:
    """Add the routes."""

    @app.get("/v1/products", responses=refusals(503))
    async def products() -> schemas.ProductsBody:
        """Count the stored inspections by product, and those that were reviewed.

        Reviewed ones are what `flawsight labels` copies for a training; a photo that was inspected
        twice is copied once.
        """
        service: Service = app.state.service
        counts = await service.ask(product_counts, service.store, limiter=service.listing)
        known = {one.name for one in service.references.products}
        missing = known - {one.product for one in counts}
        counts += [ProductCounts(name, 0, 0, 0) for name in sorted(missing)]
        return schemas.ProductsBody(products=[_body(service, one, known) for one in counts])

    @app.get("/v1/thresholds/effect", responses=refusals(503))
    async def effect(
        threshold: Annotated[float, Query(ge=0, le=1)], product: Name = None
    ) -> schemas.EffectBody:
        """Return what a threshold would change of past verdicts, as far as scores compare."""
        service: Service = app.state.service
        line = service.line_of(product)
        found = await service.ask(
            threshold_effect, service.store, line.product, made_with(line.about), threshold,
            limiter=service.listing,
        )  # fmt: skip
        return schemas.EffectBody(threshold=threshold, **asdict(found))

    @app.put("/v1/thresholds", responses=refusals(503))
    async def save(request: schemas.ThresholdRequest) -> schemas.ThresholdBody:
        """Save the threshold of a product, or remove it with null.

        Later images are judged by it, past verdicts stay. It holds for the present model and
        reference alone.
        """
        service: Service = app.state.service
        line = service.line_of(request.product)
        scale = made_with(line.about)
        await service.ask(service.saved.save, line.product, request.threshold, scale)
        line = service.line_of(request.product)
        return schemas.ThresholdBody(
            product=line.product, threshold=line.threshold_in_use, saved=_saved(service, line)
        )

    @app.put("/v1/rois", responses=refusals(409, 503))
    async def save_roi(request: schemas.RoiBody) -> schemas.RoiBody:
        """Save the region of interest of a product, or remove it with null.

        Later images are inspected inside of it alone. A threshold that was saved for the whole
        photo does not hold for it.
        """
        service: Service = app.state.service
        if request.roi is not None:
            if service.reloader.now.cut_to is None:
                raise HTTPException(
                    409,
                    "References, a calibration or prompt photos fix what is seen; make them with "
                    "--roi, and start the service with it.",
                )
            _check_roi(request.roi)
        await service.ask(service.rois.save, request.product, request.roi)
        return schemas.RoiBody(product=request.product, roi=service.rois.of(request.product))


def _check_roi(roi: str) -> None:
    """Refuse what is no region, or is one of photos of one size alone."""
    try:
        if not in_pixels(roi):
            return
    except SettingsError as error:
        raise HTTPException(422, str(error)) from error
    raise HTTPException(422, "Give the region of interest in percent: large photos are reduced.")


def _saved(service: Service, line: Line) -> bool:
    return service.saved.of(line.product, made_with(line.about)) is not None


def _body(service: Service, counts: ProductCounts, known: set[str]) -> schemas.ProductBody:
    line = None
    if not known or counts.product in known:
        line = service.line_of(counts.product)
    return schemas.ProductBody(
        **asdict(counts),
        inspected=line is not None,
        threshold=None if line is None else line.threshold_in_use,
        saved=line is not None and _saved(service, line),
        roi=service.rois.of(counts.product),
        can_have_roi=line is not None and service.reloader.now.cut_to is not None,
    )
