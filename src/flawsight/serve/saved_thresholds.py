"""Thresholds that somebody has saved for products, in the database that services share."""

from sqlalchemy import select

from .database import ThresholdRow
from .saved_values import SavedValues
from .store_errors import explained


class SavedThresholds(SavedValues):
    """The saved thresholds, as they were last read."""

    what = "thresholds"
    table = ThresholdRow

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
        values = {"threshold": threshold, "made_with": made_with}
        self.replace(product, **({} if threshold is None else values))
