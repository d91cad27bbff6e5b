"""What a request for inspection goes through: places, upload, queue, model, store."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from PIL import Image
from starlette.requests import ClientDisconnect, Request

from ..errors import FlawsightError
from ..inspection import Inspection
from .batching import Batcher, Outcome
from .database import InspectionRow
from .limits import Limits
from .store import NewInspection, Store
from .stored_maps import to_grid
from .uploads import Upload, open_upload, read_uploads

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """An image that could not be inspected."""

    name: str | None
    error: FlawsightError


@dataclass(frozen=True, kw_only=True)
class Service:
    """The parts of a running service.

    Attributes:
        batcher: with the model.
        store: of inspections.
        limits: of requests.
        thresholds: by product, in place of the Inspector's.
        about: what is kept with every inspection: the model's hash.
        drawing: bounds how many pictures are decoded at once.
    """

    batcher: Batcher
    store: Store
    limits: Limits
    thresholds: Mapping[str, float]
    about: Mapping[str, Any]
    drawing: CapacityLimiter

    async def inspect(
        self, request: Request, deadline: float | None
    ) -> list[InspectionRow | Failure]:
        """Inspect the images of a request and keep the results.

        Raises:
            BusyError: if the queue is full or the service is stopping.
            TimeoutError: if the model has not answered before the deadline.
            ClientDisconnect: if the client hangs up before.
            StoreError: if the results cannot be kept; none of them is then acknowledged.
        """
        seconds = min(deadline or self.limits.deadline, self.limits.deadline)
        with self.batcher.admit() as places:
            async with asyncio.timeout(seconds):
                uploads, product = await read_uploads(request, self.limits)
                places.take(len(uploads))
                results = await self._ask(request, uploads)
            new = [
                self._record(result, result.outcome, product)
                for result in results
                if isinstance(result.outcome, Inspection)
            ]
            rows = iter(await to_thread.run_sync(self.store.add, new) if new else [])
        return [
            Failure(result.upload.name, result.outcome)
            if isinstance(result.outcome, FlawsightError)
            else next(rows)
            for result in results
        ]

    async def _ask(self, request: Request, uploads: list[Upload]) -> "list[_Result]":
        """Put what can be opened before the model. The decoded images do not outlive this."""
        opened = await to_thread.run_sync(
            lambda: [open_upload(upload, self.limits) for upload in uploads]
        )
        images = [image for image in opened if isinstance(image, Image.Image)]
        outcomes = iter(await unless_hung_up(request, self.batcher.inspect(images)))
        return [
            _Result(upload, "", image)
            if isinstance(image, FlawsightError)
            else _Result(upload, image.format or "", next(outcomes))
            for upload, image in zip(uploads, opened, strict=True)
        ]

    def _record(
        self, result: "_Result", inspection: Inspection, product: str | None
    ) -> NewInspection:
        threshold = self.thresholds.get(product or "")
        if threshold is not None:
            inspection = replace(inspection, pred_label=inspection.pred_score > threshold)
        return NewInspection(
            photo=result.upload.content,
            # A camera's multi-picture file is a JPEG with a preview behind it.
            photo_format="JPEG" if result.photo_format == "MPO" else result.photo_format,
            name=result.upload.name,
            product=product,
            content=inspection.to_json() | dict(self.about),
            arrays={
                "anomaly_map": to_grid(inspection.anomaly_map, inspection.token_maps.shape[1:]),
                "token_maps": inspection.token_maps,
            },
        )


@dataclass(frozen=True)
class _Result:
    upload: Upload
    photo_format: str
    outcome: Outcome


async def unless_hung_up(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` gives, and cancel it as soon as the client is gone.

    Raises:
        ClientDisconnect: if it is gone first.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
