"""What somebody has saved for products, in the database that services share."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from anyio import to_thread
from sqlalchemy import delete

from ..errors import StoreError
from .database import RoiRow, ThresholdRow
from .store import Store
from .store_errors import explained

# Until what another service saved counts here, and until a failed read is tried again.
_SECONDS, _RETRY_SECONDS = 10.0, 1.0
_log = logging.getLogger(__name__)


class SavedValues(ABC):
    """Values by product, as they were last read.

    Args:
        store: with the database.
    """

    what: ClassVar[str]
    table: ClassVar[type[RoiRow] | type[ThresholdRow]]

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Any] = {}

    @abstractmethod
    def read(self) -> None:
        """Read all of them.

        Raises:
            StoreError: if the database cannot be read; then those read before stay.
        """

    def replace(self, product: str | None, **values: Any) -> None:
        """Store a product's row of these columns; without any, remove it.

        Raises:
            StoreError: if it cannot be stored; then the one before stays.
        """
        name = product or ""
        with explained(), self._store.sessions.begin() as session:
            session.execute(delete(self.table).where(self.table.product == name))
            if values:
                now = time.time_ns() // 1_000_000
                session.add(self.table(product=name, saved_ms=now, **values))
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
            _log.warning("Cannot read the saved %s: %s", self.what, error)
            return False
        return True
