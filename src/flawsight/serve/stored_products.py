"""Counts of the stored inspections by product, and what another threshold would change of them."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Integer, cast, func, select

from .database import InspectionRow
from .store import Store
from .store_errors import explained
from .stored_scores import of_product

_PRODUCTS = 200  # listed at most, those with the most inspections


@dataclass(frozen=True)
class ProductCounts:
    """Inspections of a product; `good` and `defective` are those reviewed as such."""

    product: str | None
    inspections: int
    good: int
    defective: int


@dataclass(frozen=True)
class ThresholdEffect:
    """What another threshold changes.

    Attributes:
        inspections: of the product, of scores that can be compared.
        defective_before, defective_after: those called defective, as inspected and by it.
        good, defective: those reviewed as such.
        false_alarms_before, false_alarms_after: of the good ones, those called defective.
        missed_before, missed_after: of the defective ones, those called good.
    """

    inspections: int
    defective_before: int
    defective_after: int
    good: int
    defective: int
    false_alarms_before: int
    false_alarms_after: int
    missed_before: int
    missed_after: int


def product_counts(store: Store) -> list[ProductCounts]:
    """Return the counts of each product, those with the most inspections first.

    Raises:
        StoreError: if the database cannot be read.
    """
    table = InspectionRow
    count = func.count()
    good, bad = _sum(table.true_label.is_(False)), _sum(table.true_label.is_(True))
    counted = select(table.product, count, good, bad).where(store.has_id).group_by(table.product)
    order = (count.desc(), table.product)
    with explained(), store.sessions() as session:
        found = session.execute(counted.order_by(*order).limit(_PRODUCTS))
        return [ProductCounts(*row) for row in found]


def threshold_effect(
    store: Store, product: str | None, made_with: str, threshold: float
) -> ThresholdEffect:
    """Return what a threshold would change of the inspections of a product.

    Args:
        store: of the inspections.
        product: None for those that name none.
        made_with: of the scores that can be compared.
        threshold: in [0, 1].

    Raises:
        StoreError: if the database cannot be read.
    """
    table = InspectionRow
    before, after = table.pred_label.is_(True), table.pred_score > threshold
    good, bad = table.true_label.is_(False), table.true_label.is_(True)
    sums = (
        _sum(before), _sum(after), _sum(good), _sum(bad), _sum(good & before), _sum(good & after),
        _sum(bad & ~before), _sum(bad & ~after),
    )  # fmt: skip
    chosen = select(func.count(), *sums).where(
        store.has_id, of_product(product), table.made_with == made_with
    )
    with explained(), store.sessions() as session:
        return ThresholdEffect(*session.execute(chosen).one())


def _sum(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """Return how many rows a condition holds for."""
    return func.coalesce(func.sum(cast(condition, Integer)), 0)
