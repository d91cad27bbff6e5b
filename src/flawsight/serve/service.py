"""The way of a request: slots, upload, queue, model, store."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from ..errors import FlawsightError, StoreError
from ..localize import judged
from ..roi import roi_in_words
from .batching import Batcher, InspectBatch, Outcome
from .database import InspectionRow, made_with
from .drift_watch import DriftWatch
from .limits import Limits
from .photo_memory import ByteBudget, PixelBudget, inspected_size, with_enlarged_regions
from .references import References
from .reloading import Reloader
from .saved_rois import SavedRois
from .saved_thresholds import SavedThresholds
from .store import NewInspection, Store
from .store_errors import SLOW
from .stored_maps import shrink_map
from .uploads import Upload, open_upload, read_uploads

T = TypeVar("T")

# To store in, if the model took almost all of a request's deadline.
_STORING_SECONDS = 1.0


@dataclass(frozen=True)
class Failure:
    """An image that could not be inspected."""

    name: str | None
    error: FlawsightError


@dataclass(frozen=True)
class Line:
    """How the images of one request are inspected.

    Attributes:
        product: that they show, or None.
        inspect_batch: of the setup in use when the request came, or of its product's reference.
        threshold: in place of the inspector's, or None.
        about: stored with every inspection.
    """

    product: str | None
    inspect_batch: InspectBatch
    threshold: float | None
    about: Mapping[str, Any]

    @property
    def threshold_in_use(self) -> float | None:
        """Above which a score is defective; None if the model's answer decides."""
        return self.about.get("threshold") if self.threshold is None else self.threshold


@dataclass(frozen=True, kw_only=True)
class Service:
    """The parts of a running service."""

    batcher: Batcher
    store: Store
    limits: Limits
    reloader: Reloader  # and with it the setup in use
    rendering: CapacityLimiter  # of images rendered at once
    listing: CapacityLimiter  # of pages of inspections read at once
    pixels: PixelBudget  # decoded at once
    held: ByteBudget  # of bodies and responses
    changing: asyncio.Lock  # of the references and the setup
    drift: DriftWatch
    saved: SavedThresholds
    rois: SavedRois

    @property
    def references(self) -> References:
        """The references of good photos in use, by product."""
        return self.reloader.now.references

    async def inspect(
        self, request: Request, deadline: float | None, product: str | None = None
    ) -> list[InspectionRow | Failure]:
        """Inspect the images of a request and store the results.

        Args:
            request: whose body has not been read.
            deadline: in seconds.
            product: of its address; the body may name one too.

        Raises:
            BusyError: if the queue or the memory is full or the service is stopping.
            TimeoutError: if the deadline passes before the model answers.
            ClientDisconnect: if the client disconnects before.
            StoreError: if the results cannot be stored; then none is acknowledged.
            HTTPException: if the body is malformed, or the product unknown.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + min(deadline or self.limits.deadline, self.limits.deadline)
        await to_thread.run_sync(self.store.check_presence)
        with ExitStack() as stack:
            admission = stack.enter_context(self.batcher.admit())
            hold = stack.enter_context(self.held.hold())

            def receive(size: int) -> None:
                admission.receive(size)
                hold(size)

            arrived = False
            try:
                async with asyncio.timeout_at(end):
                    uploads, named = await read_uploads(request, self.limits, receive)
                    arrived = True
                    line = self._line(product, named)
                    admission.take(len(uploads))
                    results = await self._run(request, uploads, line)
            except TimeoutError as error:
                if arrived:
                    raise
                raise HTTPException(408, "The body did not arrive before the deadline.") from error
            new = [result for result in results if isinstance(result, NewInspection)]
            if not new:
                return [result for result in results if isinstance(result, Failure)]
            storing = asyncio.create_task(to_thread.run_sync(self.store.add, new))
            # A database that hangs keeps the photos in memory, and with them their slots.
            held = stack.pop_all()
            storing.add_done_callback(lambda _: held.close())
            rows = iter(await answer(storing, max(_STORING_SECONDS, end - clock())))
        return [result if isinstance(result, Failure) else next(rows) for result in results]

    async def ask(
        self, question: Callable[..., T], *arguments: Any, limiter: CapacityLimiter | None = None
    ) -> T:
        """Call the store in a thread.

        Raises:
            StoreError: if it fails, or does not answer within a request's deadline.
        """
        asking = asyncio.create_task(to_thread.run_sync(question, *arguments, limiter=limiter))
        return await answer(asking, self.limits.deadline)

    def _line(self, product: str | None, named: str | None) -> Line:
        """Return how the images of a request are inspected, by the products that it names."""
        if product is not None and named not in (None, product):
            raise HTTPException(422, "The address and the body name different products.")
        line = self.line_of(named if product is None else product)
        self._check_roi(line)
        return line

    def _check_roi(self, line: Line) -> None:
        """Refuse to inspect other than was saved, as with references that were given since."""
        saved, used = self.rois.of(line.product), line.about.get("roi_setting")
        if saved is not None and saved != used:
            raise HTTPException(
                409,
                f"{roi_in_words(saved).capitalize()} is saved for the product, and the service "
                f"inspects {roi_in_words(used)}, as its references, calibration or prompt photos "
                "were made; remove the saved one on the page, or make them with --roi.",
            )

    def line_of(self, product: str | None) -> Line:
        """Return how images of a product are inspected now.

        Raises:
            HTTPException: if there are references, but none of this product.
        """
        # Whatever is learned, reloaded or saved meanwhile, the images of a request keep this.
        setup = self.reloader.now
        if not setup.references.products:
            inspect_batch, seen = setup.inspect_batch, dict(setup.about)
            roi = self.rois.of(product)
            if roi is not None and setup.cut_to is not None:
                inspect_batch, seen = setup.cut_to(roi), seen | {"roi_setting": roi}
            saved = self.saved.of(product, made_with(seen))
            own = setup.thresholds.get(product or "")
            return Line(product, inspect_batch, own if saved is None else saved, seen)
        known = setup.references.of_request(product)
        about = {"reference_sha256": known.sha256, "threshold": known.threshold}
        about = dict(setup.about) | about
        saved = self.saved.of(known.name, made_with(about))
        return Line(known.name, known.inspect_batch, saved, about)

    async def _run(
        self, request: Request, uploads: list[Upload], line: Line
    ) -> list[NewInspection | Failure]:
        """Run the model on the images that can be opened; they are freed on return."""
        opened = await to_thread.run_sync(
            lambda: [open_upload(upload, self.limits) for upload in uploads]
        )
        images = [image for image in opened if isinstance(image, Image.Image)]
        inspecting = self.batcher.inspect(images, line.inspect_batch)
        outcomes = iter(await unless_disconnected(request, inspecting))
        return [
            Failure(upload.name, image)
            if isinstance(image, FlawsightError)
            else self._record(upload, image.format or "", next(outcomes), line)
            for upload, image in zip(uploads, opened, strict=True)
        ]

    def _record(
        self, upload: Upload, photo_format: str, outcome: Outcome, line: Line
    ) -> NewInspection | Failure:
        if isinstance(outcome, FlawsightError):
            return Failure(upload.name, outcome)
        about = dict(line.about)
        if line.threshold is not None:
            outcome = with_enlarged_regions(judged(outcome, outcome.pred_score > line.threshold))
            about["threshold"] = line.threshold
        inspected = inspected_size(outcome.image_size, self.limits.inspected_pixels)
        return NewInspection(
            photo=upload.content,
            # A camera's multi-picture file is a JPEG with a preview behind it.
            photo_format="JPEG" if photo_format == "MPO" else photo_format,
            name=upload.name,
            product=line.product,
            content=outcome.to_json() | {"inspected_size": list(inspected)} | about,
            arrays={
                "anomaly_map": shrink_map(outcome.anomaly_map),
                "token_maps": outcome.token_maps,
            },
        )


async def answer(asking: asyncio.Task[T], seconds: float) -> T:
    """Return what the store answers. If it is too slow, the thread that asks is left to itself.

    Raises:
        StoreError: if it fails, or does not answer in time.
    """
    asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # is retrieved
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(asking)
    except TimeoutError as error:
        raise StoreError(f"The database of the store {SLOW}") from error


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; cancel it as soon as the client disconnects.

    Raises:
        ClientDisconnect: if the client disconnects first.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
