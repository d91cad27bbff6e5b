"""The store of inspections: rows in SQLite or PostgreSQL, photos and maps as files.

Files are on disk before their row is committed, and the row is committed before the client gets its
response. So an acknowledged inspection survives any crash, and none is stored in part.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, delete, func, select
from sqlalchemy.orm import defer, sessionmaker

from ..errors import StoreError
from .database import InspectionRow, made_with
from .open_database import database_url, migrate, open_database
from .store_errors import Presence, explained
from .stored_files import Arrays, Files

_PAGE = 500
# A larger id is damaged: it is of a year after 10,000.
_LAST_ID = "f"


@dataclass(frozen=True)
class NewInspection:
    """One image to store. The fields are those of `InspectionRow`."""

    photo: bytes
    photo_format: str
    name: str | None
    product: str | None
    content: dict[str, Any]
    arrays: Arrays


@dataclass(frozen=True, kw_only=True)
class Query:
    """A search for inspections; None means any."""

    since_ms: int | None = None  # inclusive
    until_ms: int | None = None  # exclusive
    defective: bool | None = None  # the verdict
    min_score: float | None = None  # of pred_score, inclusive
    max_score: float | None = None  # of pred_score, inclusive
    product: str | None = None  # exact name
    no_product: bool = False  # those alone that name none
    reviewed: bool | None = None  # whether it has a review
    contradiction: bool | None = None  # whether verdict, answer and reasoning disagree
    before: str | None = None  # only inspections older than this id
    limit: int = 50  # the first are found
    uncertain_first: bool = False  # by distance of score and threshold, else the newest first


@dataclass(frozen=True)
class Page:
    """Inspections of a search; `next` is the `before` of the next page.

    It is None for the last page, and for one in another order than that of time.
    """

    rows: list[InspectionRow]
    next: str | None


class Store:
    """The inspections of one service, or of several that share a database and a folder.

    Args:
        location: folder with an SQLite database, created if missing; or the URL of a database.
        files: folder of photos and maps; required with a URL, else `location`/files.

    Raises:
        StoreError: if it cannot be opened or migrated.
    """

    def __init__(self, location: str, files: Path | None = None) -> None:
        url = database_url(location)
        if files is None:
            if url.get_backend_name() != "sqlite" or not url.database:
                raise StoreError("A database URL needs a folder for photos: --files DIR.")
            files = Path(url.database).parent / "files"
        self.files = Files(files)
        with explained():
            files.mkdir(parents=True, exist_ok=True)
            self._engine = open_database(url)
            migrate(self._engine)
            database = url.database or ""
            of_sqlite = url.get_backend_name() == "sqlite" and Path(database).is_file()
            self._presence = Presence([files, *([Path(database)] if of_sqlite else [])])
        self.sessions = sessionmaker(self._engine, expire_on_commit=False)
        # Whatever else damage made of an id names no folder, and no page can go on behind it.
        self.has_id = (
            InspectionRow.id.op("GLOB")("[0-9a-f]" * 32)
            if self._engine.dialect.name == "sqlite"
            else InspectionRow.id.regexp_match("^[0-9a-f]{32}$")
        )

    def add(self, inspections: Sequence[NewInspection]) -> list[InspectionRow]:
        """Store inspections, all or none.

        Raises:
            StoreError: if the disk is full, or the database unreachable, locked or gone; then
                nothing is stored.
        """
        self.check_presence()
        now = time.time_ns() // 1_000_000
        first = max(now, self._last_number() + 1)
        rows = [
            InspectionRow(
                id=f"{number:012x}{secrets.token_hex(10)}",
                created_ms=now,
                name=new.name,
                product=new.product,
                photo_format=new.photo_format,
                pred_label=new.content["pred_label"],
                pred_score=new.content["pred_score"],
                content=_storable(new.content),
                threshold=new.content.get("threshold"),
                contradiction=new.content.get("contradiction"),
                made_with=made_with(new.content),
            )
            for number, new in enumerate(inspections, start=first)
        ]
        # A failed commit leaves the files: if only its reply was lost, the row exists. `sweep`
        # removes files without a row.
        with explained():
            for row, new in zip(rows, inspections, strict=True):
                self.files.write(row.id, new.photo, new.arrays)
            with self.sessions.begin() as session:
                session.add_all(rows)
        self.check_presence()
        return rows

    def _last_number(self) -> int:
        """Return what the newest id begins with; −1 if the store is empty."""
        table = InspectionRow
        ids = select(table.id).where(self.has_id, table.id < _LAST_ID)
        with explained(), self.sessions() as session:
            newest = session.scalar(ids.order_by(table.id.desc()).limit(1))
        return -1 if newest is None else int(newest[:12], 16)

    def get(self, id: str) -> InspectionRow | None:
        """Return an inspection, or None."""
        with explained(), self.sessions() as session:
            return session.get(InspectionRow, id)

    def search(self, query: Query) -> list[InspectionRow]:
        """Return the inspections that match a query, in its order."""
        table = InspectionRow
        statement = select(table).where(*self._conditions(query)).order_by(*_order(query))
        with explained(), self.sessions() as session:
            return list(session.scalars(statement.limit(query.limit)))

    def page(self, query: Query, most: int) -> Page:
        """Return a page of the inspections that match a query, in its order.

        It ends before `query.limit` at `most` bytes of content, but holds at least one inspection.
        """
        table = InspectionRow
        sizes = select(table.id, func.length(cast(table.content, Text)))
        found = sizes.where(*self._conditions(query)).order_by(*_order(query)).limit(query.limit)
        ids: list[str] = []
        total, ended = 0, False
        with explained(), self.sessions() as session:
            for id, size in session.execute(found):
                total += size or 0
                ended = bool(ids) and total > most
                if ended:
                    break
                ids.append(id)
            chosen = select(table).where(table.id.in_(ids)).order_by(*_order(query))
            rows = list(session.scalars(chosen))
        more = (ended or len(ids) == query.limit) and not query.uncertain_first
        return Page(rows, ids[-1] if more else None)

    def _conditions(self, query: Query) -> list[ColumnElement[bool]]:
        table = InspectionRow
        wanted: list[tuple[Any, Callable[[Any], ColumnElement[bool]]]] = [
            (query.since_ms, table.created_ms.__ge__),
            (query.until_ms, table.created_ms.__lt__),
            (query.defective, table.pred_label.is_),
            (query.min_score, table.pred_score.__ge__),
            (query.max_score, table.pred_score.__le__),
            (query.product, table.product.__eq__),
            (query.no_product or None, lambda _: table.product.is_(None)),
            (
                query.reviewed,
                lambda yes: table.true_label.is_not(None) if yes else table.true_label.is_(None),
            ),
            (query.contradiction, table.contradiction.is_),
            (query.before, table.id.__lt__),
        ]
        return [
            self.has_id,
            *(condition(value) for value, condition in wanted if value is not None),
        ]

    def review(self, id: str, right: bool) -> InspectionRow | None:
        """Mark a verdict right or wrong; return the inspection, or None if the id is unknown."""
        with explained(), self.sessions.begin() as session:
            row = session.get(InspectionRow, id, with_for_update=True)
            if row is not None:
                row.true_label = row.pred_label == right
                row.reviewed_ms = time.time_ns() // 1_000_000
        self.check_presence()
        return row

    def unreview(self, id: str) -> InspectionRow | None:
        """Take a review back; return the inspection, or None if the id is unknown."""
        with explained(), self.sessions.begin() as session:
            row = session.get(InspectionRow, id, with_for_update=True)
            if row is not None:
                row.true_label = row.reviewed_ms = None
        self.check_presence()
        return row

    def reviewed(self, product: str | None = None) -> Iterator[InspectionRow]:
        """Yield all reviewed inspections, newest first, without their content."""
        table = InspectionRow
        before = None
        while True:
            query = Query(reviewed=True, product=product, before=before)
            statement = select(table).options(defer(table.content)).where(*self._conditions(query))
            with explained(), self.sessions() as session:
                rows = session.scalars(statement.order_by(table.id.desc()).limit(_PAGE)).all()
            if not rows:
                return
            yield from rows
            before = rows[-1].id

    def prune(self, keep: int) -> int:
        """Delete the unreviewed inspections but the newest `keep`; return how many.

        Reviewed ones are neither deleted nor counted.
        """
        table = InspectionRow
        with explained():
            with self.sessions.begin() as session:
                newest = select(table.id).where(self.has_id, table.true_label.is_(None))
                ids = list(session.scalars(newest.order_by(table.id.desc()).offset(keep)))
                for start in range(0, len(ids), _PAGE):
                    session.execute(delete(table).where(table.id.in_(ids[start : start + _PAGE])))
            # Rows first: a kill then leaves a folder to sweep, not a row without files.
            for id in ids:
                self.files.remove(id)
        return len(ids)

    def sweep(self) -> int:
        """Delete folders without a row, left by a killed process; return how many.

        None is deleted if there is no row at all: then the database was lost, and the photos are
        all that is left.
        """
        table = InspectionRow
        if not self.search(Query(limit=1)):
            return 0
        candidates = list(self.files.old())
        swept: set[str] = set()
        for start in range(0, len(candidates), _PAGE):
            ids = candidates[start : start + _PAGE]
            with explained(), self.sessions() as session:
                known = session.scalars(select(table.id).where(table.id.in_(ids)))
                swept |= set(ids).difference(known)
        for id in swept:
            self.files.remove(id)
        return len(swept)

    def check_presence(self) -> None:
        """Check that database and folder are still those that were opened.

        Raises:
            StoreError: if they are not.
        """
        self._presence.check()

    def check(self) -> None:
        """Check that an inspection could be stored now, by writing and deleting one.

        Raises:
            StoreError: if it could not.
        """
        self.check_presence()
        probe = InspectionRow(
            id=f"{0:012x}{secrets.token_hex(10)}", created_ms=0, photo_format="", pred_label=False,
            pred_score=0.0, content={},
        )  # fmt: skip
        with explained():
            self.files.probe()
            with self.sessions.begin() as session:
                session.add(probe)
                session.flush()
                session.delete(probe)

    def close(self) -> None:
        """Close all connections to the database."""
        self._engine.dispose()
        self._presence.close()


def _order(query: Query) -> list[ColumnElement[Any]]:
    table = InspectionRow
    newest = table.id.desc()
    if not query.uncertain_first:
        return [newest]
    # Without a threshold the likelier answer decides.
    return [func.abs(table.pred_score - func.coalesce(table.threshold, 0.5)), newest]


def _storable(content: Any) -> Any:
    """Replace NUL characters, which PostgreSQL does not accept in text."""
    if isinstance(content, str):
        return content.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(content, dict):
        return {key: _storable(value) for key, value in content.items()}
    return [_storable(value) for value in content] if isinstance(content, list) else content
