"""Thresholds that somebody has saved for products, in the database that services share."""

import asyncio
import logging
import time

from anyio import to_thread
from sqlalchemy import delete, select

from ..errors import StoreError
from .database import ThresholdRow
from .store import Store
from .store_errors import explained

# Until a threshold that another service saved counts here, and until a failed read is tried again.
_SECONDS, _RETRY_SECONDS = 10.0, 1.0
_log = logging.getLogger(__name__)


class SavedThresholds:
    """The saved thresholds, as they were last read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[float, str]] = {}

    def of(self, product: str | None, made_with: str) -> float | None:
        """Return the threshold saved for a product, if it is of scores made with this."""
        threshold, of_scores = self._known.get(product or "", (None, ""))
        return threshold if of_scores == made_with else None

    def read(self) -> None:
        """Read all of them.

        Raises:
            StoreError: if the database cannot be read; then those read before stay.
        """
        with explained(), self._store.sessions() as session:
            rows = list(session.scalars(select(ThresholdRow)))
        self._known = {row.product: (row.threshold, row.made_with) for row in rows}

    def save(self, product: str | None, threshold: float | None, made_with: str) -> None:
        """Save a threshold in [0, 1]; None removes the saved one.

        Raises:
            StoreError: if it cannot be stored; then the one before stays.
        """
        name = product or ""
        with explained(), self._store.sessions.begin() as session:
            session.execute(delete(ThresholdRow).where(ThresholdRow.product == name))
            if threshold is not None:
                now = time.time_ns() // 1_000_000
                session.add(
                    ThresholdRow(
                        product=name, threshold=threshold, made_with=made_with, saved_ms=now
                    )
                )
        self._store.check_presence()
        self.read()

    async def keep_reading(self) -> None:
        """Read them for ever: another service may save some."""
        while True:
            await asyncio.sleep(_SECONDS if await self.could_read() else _RETRY_SECONDS)

    async def could_read(self) -> bool:
        """Read them, and return whether that went well; if not, those read before stay."""
        try:
            await to_thread.run_sync(self.read)
        except StoreError as error:
            _log.warning("Cannot read the saved thresholds: %s", error)
            return False
        return True
