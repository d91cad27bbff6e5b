"""The drift of all products, computed once a day from the store."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

from anyio import to_thread

from ..errors import StoreError
from .drift import DAY_MS, LATEST_DAYS, REFERENCE_DAYS, Drift, day_of, find_drifts
from .store import Store
from .stored_scores import ScoreRow, busiest, first_of, like_the_newest, scores_of, whole_since

# Products compared at most, for any client may name a new one; and inspections of each at most.
_PRODUCTS, _ROWS = 50, 100_000
_SECONDS = 600.0  # between two looks at the clock
_log = logging.getLogger(__name__)


class DriftWatch:
    """The drift as of the end of yesterday (UTC).

    Args:
        store: of the inspections.
        keep: see `whole_since`.
        show: called with the drifts whenever they are new.
    """

    def __init__(
        self, store: Store, keep: int, show: Callable[[Sequence[Drift]], None] = lambda drifts: None
    ) -> None:
        self._store, self._keep, self._show = store, keep, show
        self._lock = threading.Lock()
        self._day, self._drifts = -1, list[Drift]()

    def look(self) -> list[Drift]:
        """Return the drift of each product, the busiest first.

        Raises:
            StoreError: if the store cannot be read.
        """
        end = day_of(time.time_ns() // 1_000_000)
        with self._lock:
            if end != self._day:
                self._drifts = self._compute(end)
                self._day = end
                self._show(self._drifts)
            return self._drifts

    def _compute(self, end: int) -> list[Drift]:
        # No reference week begins on a day that is not whole.
        first = day_of(whole_since(self._store, self._keep) + DAY_MS - 1)
        products = busiest(self._store, end - LATEST_DAYS * DAY_MS, end, _PRODUCTS)
        return find_drifts({name: self._weeks(name, first, end) for name in products}, end)

    def _weeks(
        self, product: str | None, first: int, end: int
    ) -> tuple[list[ScoreRow], list[ScoreRow]]:
        """Return the rows of the reference weeks and of the latest week."""
        begin = end - LATEST_DAYS * DAY_MS
        alike = like_the_newest(self._store, product, end)
        since = None if alike is None else first_of(self._store, alike, first)
        if alike is None or since is None:
            return [], []
        until = min(day_of(since) + REFERENCE_DAYS * DAY_MS, begin)
        return (
            scores_of(self._store, alike, since, until, _ROWS),
            scores_of(self._store, alike, begin, end, _ROWS),
        )

    async def keep_looking(self) -> None:
        """Look for ever, so that the metrics have the drift of yesterday."""
        while True:
            try:
                await to_thread.run_sync(self.look)
            except StoreError as error:
                _log.warning("Cannot compute drift: %s", error)
            await asyncio.sleep(_SECONDS)
