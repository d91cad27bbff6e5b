"""Regions of interest that somebody has saved for products; see also saved_thresholds.py."""

from sqlalchemy import select

from .database import RoiRow
from .saved_values import SavedValues
from .store_errors import explained


class SavedRois(SavedValues):
    """The saved regions of interest, as they were last read."""

    what = "regions of interest"
    table = RoiRow

    def of(self, product: str | None) -> str | None:
        """Return the region saved for a product."""
        return self._known.get(product or "")

    def read(self) -> None:
        """Read all of them.

        Raises:
            StoreError: if the database cannot be read; then those read before stay.
        """
        with explained(), self._store.sessions() as session:
            rows = list(session.scalars(select(RoiRow)))
        self._known = {row.product: row.roi for row in rows}

    def save(self, product: str | None, roi: str | None) -> None:
        """Save a region, as `Settings.roi` has it; None removes the saved one.

        Raises:
            StoreError: if it cannot be stored; then the one before stays.
        """
        self.replace(product, **({} if roi is None else {"roi": roi}))
