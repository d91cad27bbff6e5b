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

import alembic.command
import alembic.config
from sqlalchemy import ColumnElement, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import sessionmaker

from ..errors import MissingExtraError, StoreError
from .database import InspectionRow
from .store_errors import Presence, explained
from .stored_files import Arrays, Files

_PAGE = 500
LOCK_SECONDS = 5
# Without these, a connection to a machine that vanished hangs for hours.
_NETWORK = {
    "connect_timeout": "5", "tcp_user_timeout": "10000", "keepalives_idle": "5",
    "keepalives_interval": "2", "keepalives_count": "3",
}  # fmt: skip


# The SQLite file of a store that is a folder.
DATABASE = "flawsight.db"


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
    reviewed: bool | None = None  # whether it has a review
    before: str | None = None  # only inspections older than this id
    limit: int = 50  # the newest are found


class Store:
    """The inspections of one service, or of several that share a database and a folder.

    Args:
        location: folder with an SQLite database, created if missing; or the URL of a database.
        files: folder of photos and maps; required with a URL, else `location`/files.

    Raises:
        StoreError: if it cannot be opened or migrated.
    """

    def __init__(self, location: str, files: Path | None = None) -> None:
        url = _url(location)
        if files is None:
            if url.get_backend_name() != "sqlite" or not url.database:
                raise StoreError("A database URL needs a folder for photos: --files DIR.")
            files = Path(url.database).parent / "files"
        self.files = Files(files)
        with explained():
            files.mkdir(parents=True, exist_ok=True)
            self._engine = _open(url)
            migrate(self._engine)
            database = url.database or ""
            of_sqlite = url.get_backend_name() == "sqlite" and Path(database).is_file()
            self._presence = Presence([files, *([Path(database)] if of_sqlite else [])])
        self._session = sessionmaker(self._engine, expire_on_commit=False)

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
            )
            for number, new in enumerate(inspections, start=first)
        ]
        # A failed commit leaves the files: if only its reply was lost, the row exists. `sweep`
        # removes files without a row.
        with explained():
            for row, new in zip(rows, inspections, strict=True):
                self.files.write(row.id, new.photo, new.arrays)
            with self._session.begin() as session:
                session.add_all(rows)
        self.check_presence()
        return rows

    def _last_number(self) -> int:
        """Return what the newest id begins with; −1 if the store is empty."""
        with explained(), self._session() as session:
            newest = session.scalar(select(func.max(InspectionRow.id)))
        return -1 if newest is None else int(newest[:12], 16)

    def get(self, id: str) -> InspectionRow | None:
        """Return an inspection, or None."""
        with explained(), self._session() as session:
            return session.get(InspectionRow, id)

    def search(self, query: Query) -> list[InspectionRow]:
        """Return the inspections that match a query, newest first."""
        table = InspectionRow
        wanted: list[tuple[Any, Callable[[Any], ColumnElement[bool]]]] = [
            (query.since_ms, table.created_ms.__ge__),
            (query.until_ms, table.created_ms.__lt__),
            (query.defective, table.pred_label.is_),
            (query.min_score, table.pred_score.__ge__),
            (query.max_score, table.pred_score.__le__),
            (query.product, table.product.__eq__),
            (
                query.reviewed,
                lambda yes: table.true_label.is_not(None) if yes else table.true_label.is_(None),
            ),
            (query.before, table.id.__lt__),
        ]
        conditions = [condition(value) for value, condition in wanted if value is not None]
        statement = select(table).where(*conditions).order_by(table.id.desc()).limit(query.limit)
        with explained(), self._session() as session:
            return list(session.scalars(statement))

    def review(self, id: str, right: bool) -> InspectionRow | None:
        """Mark a verdict right or wrong; return the inspection, or None if the id is unknown."""
        with explained(), self._session.begin() as session:
            row = session.get(InspectionRow, id, with_for_update=True)
            if row is not None:
                row.true_label = row.pred_label == right
                row.reviewed_ms = time.time_ns() // 1_000_000
        self.check_presence()
        return row

    def reviewed(self, product: str | None = None) -> Iterator[InspectionRow]:
        """Yield all reviewed inspections, newest first."""
        before = None
        while rows := self.search(
            Query(reviewed=True, product=product, before=before, limit=_PAGE)
        ):
            yield from rows
            before = rows[-1].id

    def prune(self, keep: int) -> int:
        """Delete the unreviewed inspections but the newest `keep`; return how many.

        Reviewed ones are neither deleted nor counted.
        """
        table = InspectionRow
        with explained():
            with self._session.begin() as session:
                newest = select(table).where(table.true_label.is_(None)).order_by(table.id.desc())
                rows = list(session.scalars(newest.offset(keep)))
                for row in rows:
                    session.delete(row)
            # Rows first: a kill then leaves a folder to sweep, not a row without files.
            for row in rows:
                self.files.remove(row.id)
        return len(rows)

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
            with explained(), self._session() as session:
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
            with self._session.begin() as session:
                session.add(probe)
                session.flush()
                session.delete(probe)

    def close(self) -> None:
        """Close all connections to the database."""
        self._engine.dispose()
        self._presence.close()


def migrate(engine: Engine) -> None:
    """Apply the migrations in this package."""
    config = alembic.config.Config()
    config.set_main_option("script_location", "flawsight.serve:migrations")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Services that start together wait for the first one to migrate.
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(7264927)"))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def _url(location: str) -> URL:
    if "://" not in location:
        return URL.create("sqlite", database=str(Path(location).expanduser() / DATABASE))
    try:
        url = make_url(location)
    except ArgumentError as error:
        raise StoreError(
            "--store is not a database URL; use postgresql://USER@HOST/NAME."
        ) from error
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _open(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        given = url.query.get("options", "")
        bounds = _NETWORK | url.query | {"options": f"-c lock_timeout={LOCK_SECONDS}s {given}"}
        url = url.set(query=bounds)
        options["pool_timeout"] = LOCK_SECONDS
    try:
        engine = create_engine(url, pool_pre_ping=True, **options)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "postgres") from error
    except NoSuchModuleError as error:
        raise StoreError(
            f"Database {url.drivername} is not supported; use postgresql://…"
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Let readers work during a write, sync each commit, and wait for other writers."""
    for setting in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={LOCK_SECONDS}000"):
        connection.execute(f"PRAGMA {setting}")


def _storable(content: Any) -> Any:
    """Replace NUL characters, which PostgreSQL does not accept in text."""
    if isinstance(content, str):
        return content.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(content, dict):
        return {key: _storable(value) for key, value in content.items()}
    return [_storable(value) for value in content] if isinstance(content, list) else content
