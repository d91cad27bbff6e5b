"""Micro-batching: images of many requests wait in one queue, and the model takes several at once.

There is no timer. While the model is busy the queue fills by itself, and while it is idle an image
is taken at once: the batch grows with the load, and a lone request waits for nobody.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from PIL import Image

from ..errors import BusyError, FlawsightError, ModelError
from ..inspection import Inspection

Outcome = Inspection | FlawsightError
InspectBatch = Callable[[Sequence[Image.Image]], list[Outcome]]
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Item:
    image: Image.Image
    outcome: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """The one worker that runs the model, and the bounded queue before it.

    Args:
        inspect_batch: `Inspector.inspect_batch`; runs in a thread of its own, one call at a time.
        batch_size: images given to it at once.
        places: images that may be in the house: being uploaded, waiting, or with the model.
        on_batch: told the size and the seconds of each batch.
    """

    def __init__(
        self,
        inspect_batch: InspectBatch,
        batch_size: int,
        places: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self.places = places
        self.taken = 0
        self.closed = False
        self._inspect_batch = inspect_batch
        self._batch_size = batch_size
        self._on_batch = on_batch
        self._batch_seconds = 1.0
        self._waiting: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "model")
        self._worker = asyncio.create_task(self._run())

    def admit(self) -> "Places":
        """Return the context in which one request holds its places."""
        return Places(self)

    @property
    def retry_after(self) -> int:
        """Seconds after which the images now in the house should be done."""
        return max(1, math.ceil(self.taken / self._batch_size * self._batch_seconds))

    @property
    def alive(self) -> bool:
        """Whether the worker runs and takes new images."""
        return not self.closed and not self._worker.done()

    async def inspect(self, images: Sequence[Image.Image]) -> list[Outcome]:
        """Inspect images; cancelled, those that still wait leave the queue at once."""
        items = [_Item(image) for image in images]
        if self.closed:
            return [_stopping() for _ in items]
        self._waiting.extend(items)
        self._wake.set()
        try:
            return await asyncio.gather(*(item.outcome for item in items))
        finally:
            for item in items:
                if item in self._waiting:
                    self._waiting.remove(item)

    def close(self) -> None:
        """Refuse what waits and what comes; what runs goes on."""
        self.closed = True
        while self._waiting:
            item = self._waiting.popleft()
            if not item.outcome.done():
                item.outcome.set_result(_stopping())
        self._wake.set()

    def close_soon(self) -> None:
        """Close, from a signal handler."""
        self._loop.call_soon_threadsafe(self.close)

    async def stop(self) -> None:
        """Close, and return when the model is still."""
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
            count = min(self._batch_size, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            began = time.perf_counter()
            images = [item.image for item in batch]
            outcomes = await self._loop.run_in_executor(
                self._thread, inspect_apart, self._inspect_batch, images
            )
            self._batch_seconds = time.perf_counter() - began
            self._on_batch(count, self._batch_seconds)
            for item, outcome in zip(batch, outcomes, strict=True):
                if not item.outcome.done():
                    item.outcome.set_result(outcome)


class Places:
    """What one request holds of the house, given back however it ends."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._count = 0

    def __enter__(self) -> Self:
        # One place is taken before the body is read, so that waiting uploads are bounded too.
        self.take(1)
        return self

    def take(self, count: int) -> None:
        """Hold `count` places in all.

        Raises:
            BusyError: if there are not as many.
        """
        more = count - self._count
        if self._batcher.closed:
            raise _stopping()
        if self._batcher.taken + more > self._batcher.places:
            raise BusyError("The queue is full; try again in a while.")
        self._batcher.taken += more
        self._count = count

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._batcher.taken -= self._count


def inspect_apart(inspect_batch: InspectBatch, images: Sequence[Image.Image]) -> list[Outcome]:
    """Inspect a batch; if it fails as a whole, each image by itself.

    So an image on which the model raises, or one too many for its memory, fails nobody else's.
    """
    try:
        return inspect_batch(images)
    except Exception as error:  # whatever a model does, the worker lives
        if len(images) == 1:
            _log.exception("The model failed on an image")
            if isinstance(error, FlawsightError):
                return [error]
            return [ModelError("The model failed on this image; the service's log says how.")]
    return [outcome for image in images for outcome in inspect_apart(inspect_batch, [image])]


def _stopping() -> BusyError:
    return BusyError("The service is stopping; try again when it is back.")
