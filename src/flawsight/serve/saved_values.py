"""What somebody has saved for products, in the database that services share."""

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from anyio import to_thread

from ..errors import StoreError
from .store import Store

# Until what another service saved counts here, and until a failed read is tried again.
_SECONDS, _RETRY_SECONDS = 10.0, 1.0
_log = logging.getLogger(__name__)


class SavedValues(ABC):
    """Values by product, as they were last read.

    Args:
        store: with the database.
    """

    what: ClassVar[str]

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Any] = {}

    @abstractmethod
    def read(self) -> None:
        """Read all of them.

        Raises:
            StoreError: if the database cannot be read; then those read before stay.
        """

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
