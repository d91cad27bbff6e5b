"""Micro-batching: images of many requests wait in one queue, and the model takes several at once.

There is no timer. While the model is busy, images gather in the queue; while it is idle, an image
is taken at once. So batches grow with the load, and a single request never waits for others.

A batch is of one inspector, that of the image that has waited longest: each product has its own
reference, and a reload makes new ones.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

from PIL import Image

from ..errors import BusyError, FlawsightError, ModelError
from ..inspection import Inspection
from ..io.images import Photo

Outcome = Inspection | FlawsightError
InspectBatch = Callable[[Sequence[Image.Image | Photo]], list[Outcome]]
_log = logging.getLogger(__name__)

# Bytes per second below which a body holds no slot, and seconds before that is judged.
_SLOWEST, _GRACE = 4096, 0.5


class Admission:
    """The slots of one request."""

    def __init__(self, batcher: "Batcher") -> None:
        self.slots = 0
        self._batcher = batcher
        self._began = time.monotonic()
        self._received = 0
        self._uploading = True

    def receive(self, size: int) -> None:
        """Count bytes of the body."""
        self._received += size

    def take(self, slots: int) -> None:
        """Hold so many slots instead.

        Raises:
            BusyError: if they are not free, or the service is stopping.
        """
        self._batcher.check_room(slots, self)
        self._uploading = self.slots == 0
        self.slots = slots

    def holds(self, now: float) -> bool:
        """Return whether it keeps its slots from others."""
        expected = (now - self._began - _GRACE) * _SLOWEST
        return not self._uploading or self._received >= expected


class Batcher:
    """The worker that runs the model, and the bounded queue in front of it.

    Args:
        batch_size: images per batch.
        slots: images in flight at most: being uploaded, waiting, or with the model.
        on_batch: called with the size and the seconds of each batch.
        run: calls an `inspect_batch`, in a thread of its own, one at a time.
    """

    def __init__(
        self,
        batch_size: int,
        slots: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
        run: "Callable[[InspectBatch, Sequence[Image.Image]], list[Outcome]] | None" = None,
    ) -> None:
        self.slots = slots
        self.closed = False
        self._batch_size = batch_size
        self._on_batch = on_batch
        self._run_batch = inspect_separately if run is None else run
        self._batch_seconds = 1.0
        self._admissions: set[Admission] = set()
        self._waiting: dict[asyncio.Future[Outcome], tuple[InspectBatch, Image.Image]] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "model")
        self._worker = asyncio.create_task(self._run())

    @contextmanager
    def admit(self) -> Iterator["Admission"]:
        """Hold a slot for a request while its body arrives, then one for each of its images.

        A body that arrives too slowly loses its slot, so that it keeps nobody out. If it is whole
        after all, it gets slots if there are any.

        Raises:
            BusyError: if too few slots are free, or the service is stopping.
        """
        admission = Admission(self)
        admission.take(1)
        self._admissions.add(admission)
        try:
            yield admission
        finally:
            self._admissions.remove(admission)

    @property
    def in_flight(self) -> int:
        """Images being uploaded, waiting, or with the model."""
        return sum(admission.slots for admission in self._admissions)

    def check_room(self, slots: int, besides: "Admission") -> None:
        """Raise a BusyError if so many slots are not free."""
        if self.closed:
            raise _stopping()
        now = time.monotonic()
        held = sum(one.slots for one in self._admissions if one is not besides and one.holds(now))
        if held + slots > self.slots:
            raise BusyError("The queue is full; try again later.")

    @property
    def retry_after(self) -> int:
        """Seconds after which the images now in flight should be done."""
        return max(1, math.ceil(self.in_flight / self._batch_size * self._batch_seconds))

    @property
    def alive(self) -> bool:
        """Whether the worker runs and accepts images."""
        return not self.closed and not self._worker.done()

    async def inspect(
        self, images: Sequence[Image.Image], inspect_batch: InspectBatch
    ) -> list[Outcome]:
        """Inspect images; if cancelled, those that still wait leave the queue at once.

        Args:
            images: of one request.
            inspect_batch: an `Inspector`'s.
        """
        if self.closed:
            return [_stopping() for _ in images]
        outcomes: list[asyncio.Future[Outcome]] = [self._loop.create_future() for _ in images]
        self._waiting |= {
            one: (inspect_batch, image) for one, image in zip(outcomes, images, strict=True)
        }
        self._wake.set()
        try:
            return await asyncio.gather(*outcomes)
        finally:
            for outcome in outcomes:
                self._waiting.pop(outcome, None)

    def close(self) -> None:
        """Refuse waiting and new images; the running batch goes on."""
        self.closed = True
        for outcome in self._waiting:
            if not outcome.done():
                outcome.set_result(_stopping())
        self._waiting.clear()
        self._wake.set()

    def close_soon(self) -> None:
        """Close from a signal handler."""
        self._loop.call_soon_threadsafe(self.close)

    async def stop(self) -> None:
        """Close, and return when the running batch is done."""
        self.close()
        await self._worker
        self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                if self.closed:
                    return
                self._wake.clear()
                await self._wake.wait()
            using = next(iter(self._waiting.values()))[0]
            alike = (one for one, (other, _) in self._waiting.items() if other == using)
            batch = list(islice(alike, self._batch_size))
            images = [self._waiting.pop(outcome)[1] for outcome in batch]
            began = time.perf_counter()
            results = await self._loop.run_in_executor(self._thread, self._run_batch, using, images)
            self._batch_seconds = time.perf_counter() - began
            self._on_batch(len(batch), self._batch_seconds)
            for outcome, result in zip(batch, results, strict=True):
                if not outcome.done():
                    outcome.set_result(result)


def inspect_separately(
    inspect_batch: InspectBatch, images: Sequence[Image.Image | Photo]
) -> list[Outcome]:
    """Inspect a batch; if it fails as a whole, inspect each image alone.

    An image on which the model raises, or a batch too large for memory, thus fails no other image.
    """
    try:
        return inspect_batch(images)
    except Exception as error:  # the worker survives any error of the model
        if len(images) == 1:
            _log.exception("The model failed on an image")
            if isinstance(error, FlawsightError):
                return [error]
            return [ModelError("The model failed on this image; see the log of the service.")]
    return [outcome for image in images for outcome in inspect_separately(inspect_batch, [image])]


def _stopping() -> BusyError:
    return BusyError("The service is stopping; try again when it is running.")
