"""The scores of stored inspections over time, without their content."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, func, select

from .database import InspectionRow
from .store import Store
from .store_errors import explained


class ScoreRow(NamedTuple):
    """The columns of an inspection that its drift is computed of; see `InspectionRow`."""

    created_ms: int
    pred_score: float
    pred_label: bool


def whole_since(store: Store, keep: int) -> int:
    """Return the milliseconds since 1970 from which on no inspection has been deleted.

    Args:
        store: of the inspections.
        keep: of `Store.prune`. Of earlier ones only the reviewed are left, which somebody chose.

    Raises:
        StoreError: if the database cannot be read.
    """
    table = InspectionRow
    unreviewed = (store.has_id, table.true_label.is_(None))
    with explained(), store.sessions() as session:
        count = session.scalar(select(func.count()).select_from(table).where(*unreviewed))
        if (count or 0) < keep:
            return 0
        oldest = select(table.created_ms).where(*unreviewed).order_by(table.id).limit(1)
        return int(session.scalar(oldest) or 0)


def busiest(store: Store, since_ms: int, until_ms: int, most: int) -> list[str | None]:
    """Return the products with the most inspections in [since, until), `most` at most.

    Raises:
        StoreError: if the database cannot be read.
    """
    table = InspectionRow
    within = (table.created_ms >= since_ms, table.created_ms < until_ms)
    counted = select(table.product).where(*within).group_by(table.product)
    order = (func.count().desc(), table.product)
    with explained(), store.sessions() as session:
        return list(session.scalars(counted.order_by(*order).limit(most)))


def of_product(product: str | None) -> ColumnElement[bool]:
    """Return the condition of a product, or of inspections that name none."""
    column = InspectionRow.product
    return column.is_(None) if product is None else column == product


def like_the_newest(store: Store, product: str | None, until_ms: int) -> ColumnElement[bool] | None:
    """Return the condition of a product's inspections whose scores can be compared.

    They have the model, reference and threshold of its newest inspection before a time; None if
    there is none. Scores of another model are on another scale, and a new threshold says that
    somebody has looked at them.

    Raises:
        StoreError: if the database cannot be read.
    """
    table = InspectionRow
    newest = select(table.made_with, table.threshold).where(
        of_product(product), table.created_ms < until_ms
    )
    with explained(), store.sessions() as session:
        order = (table.created_ms.desc(), table.id.desc())
        found = session.execute(newest.order_by(*order).limit(1)).first()
    if found is None:
        return None
    return and_(
        of_product(product),
        table.made_with.is_not_distinct_from(found.made_with),
        table.threshold.is_not_distinct_from(found.threshold),
    )


def first_of(store: Store, alike: ColumnElement[bool], since_ms: int) -> int | None:
    """Return when the first inspection of a condition was made from a time on, or None.

    Raises:
        StoreError: if the database cannot be read.
    """
    created = InspectionRow.created_ms
    with explained(), store.sessions() as session:
        return session.scalar(select(func.min(created)).where(alike, created >= since_ms))


def scores_of(
    store: Store, alike: ColumnElement[bool], since_ms: int, until_ms: int, most: int
) -> list[ScoreRow]:
    """Return the rows of a condition in [since, until), the oldest `most`.

    Damaged scores are left out.

    Raises:
        StoreError: if the database cannot be read.
    """
    table = InspectionRow
    chosen = select(table.created_ms, table.pred_score, table.pred_label).where(
        alike,
        table.created_ms >= since_ms,
        table.created_ms < until_ms,
        table.pred_score >= 0,
        table.pred_score <= 1,
    )
    with explained(), store.sessions() as session:
        return [ScoreRow(*row) for row in session.execute(chosen.order_by(table.id).limit(most))]
