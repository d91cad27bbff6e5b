"""Every inspection, kept: rows in SQLite or PostgreSQL, photos and maps as files beside them.

Files are on the disk before their row is committed, and a row is committed before the client hears
of it: whatever stops the service, what was acknowledged is there, and nothing is there by half.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
from sqlalchemy import ColumnElement, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session

from ..errors import MissingExtraError, StoreError
from ..inspection import FloatArray
from .database import InspectionRow
from .stored_files import Files

_AT_ONCE = 500


@dataclass(frozen=True)
class NewInspection:
    """What is to be kept of one image. `content` is a row as in `InspectionRow`."""

    photo: bytes
    photo_format: str
    name: str | None
    product: str | None
    content: dict[str, Any]
    arrays: dict[str, FloatArray]


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which inspections to look for; None leaves a choice open.

    Attributes:
        since_ms: earliest time, included.
        until_ms: latest time, left out.
        defective: the verdict.
        min_score: lowest pred_score, included.
        max_score: highest pred_score, included.
        product: exactly so called.
        reviewed: whether a reviewer has judged it.
        before: id from which to go on, towards older ones.
        limit: how many at most, newest first.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    defective: bool | None = None
    min_score: float | None = None
    max_score: float | None = None
    product: str | None = None
    reviewed: bool | None = None
    before: str | None = None
    limit: int = 50


class Store:
    """The inspections of one service, or of several that share a database and a folder.

    Args:
        place: folder, made if need be, with an SQLite database; or the URL of a database.
        files: folder of photos and maps; needed for a URL, by default `place`/files.

    Raises:
        StoreError: if it cannot be opened or brought up to date.
    """

    def __init__(self, place: str, files: Path | None = None) -> None:
        url = _url(place)
        if files is None:
            if url.get_backend_name() != "sqlite" or not url.database:
                raise StoreError("A database by URL needs a folder for photos: --files DIR.")
            files = Path(url.database).parent / "files"
        self.files = Files(files)
        with _explained():
            files.mkdir(parents=True, exist_ok=True)
            self._engine = _open(url)
            migrate(self._engine)

    def add(self, inspections: Sequence[NewInspection]) -> list[InspectionRow]:
        """Keep inspections, all or none.

        Raises:
            StoreError: if the disk is full or the database away; then nothing is kept.
        """
        now = time.time_ns() // 1_000_000
        rows = [
            InspectionRow(
                id=f"{now:012x}{secrets.token_hex(10)}",
                created_ms=now,
                name=new.name,
                product=new.product,
                photo_format=new.photo_format,
                pred_label=new.content["pred_label"],
                pred_score=new.content["pred_score"],
                content=_storable(new.content),
            )
            for new in inspections
        ]
        # Files stay where the commit fails: if only its answer was lost, their row is there.
        # `sweep` removes those without one.
        with _explained():
            for row, new in zip(rows, inspections, strict=True):
                self.files.write(row.id, new.photo, new.arrays)
            with self._session() as session, session.begin():
                session.add_all(rows)
        return rows

    def get(self, id: str) -> InspectionRow | None:
        """Return an inspection, or None."""
        with _explained(), self._session() as session:
            return session.get(InspectionRow, id)

    def search(self, query: Query) -> list[InspectionRow]:
        """Return what a query asks for, newest first."""
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
        with _explained(), self._session() as session:
            return list(session.scalars(statement))

    def review(self, id: str, right: bool) -> InspectionRow | None:
        """Mark a verdict right or wrong; return the inspection, or None if there is none."""
        with _explained(), self._session() as session, session.begin():
            row = session.get(InspectionRow, id, with_for_update=True)
            if row is not None:
                row.true_label = row.pred_label == right
                row.reviewed_ms = time.time_ns() // 1_000_000
            return row

    def reviewed(self, product: str | None = None) -> Iterator[InspectionRow]:
        """Yield all reviewed inspections, newest first."""
        before = None
        while rows := self.search(
            Query(reviewed=True, product=product, before=before, limit=_AT_ONCE)
        ):
            yield from rows
            before = rows[-1].id

    def prune(self, keep: int) -> int:
        """Remove the oldest inspections above `keep` that nobody reviewed; return how many."""
        table = InspectionRow
        with _explained():
            with self._session() as session, session.begin():
                surplus = (session.scalar(select(func.count(table.id))) or 0) - keep
                oldest = select(table).where(table.true_label.is_(None)).order_by(table.id)
                rows = list(session.scalars(oldest.limit(max(0, surplus))))
                for row in rows:
                    session.delete(row)
            # The rows go first: what is left after a kill is a folder to sweep, not half a record.
            for row in rows:
                self.files.remove(row.id)
        return len(rows)

    def sweep(self) -> int:
        """Remove files without a row, which a killed process left; return how many."""
        table = InspectionRow
        candidates = list(self.files.old())
        swept = 0
        for start in range(0, len(candidates), _AT_ONCE):
            part = candidates[start : start + _AT_ONCE]
            with _explained(), self._session() as session:
                ids = [folder.name for folder in part]
                known = session.scalars(select(table.id).where(table.id.in_(ids)))
                swept += self.files.sweep(set(known), part)
        return swept

    def check(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            StoreError: if it gives none.
        """
        with _explained(), self._engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)


def migrate(engine: Engine) -> None:
    """Bring a database up to date with the migrations in this package."""
    config = alembic.config.Config()
    config.set_main_option("script_location", "flawsight.serve:migrations")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Services that start together wait for the first one's migration.
            connection.execute(text("SELECT pg_advisory_xact_lock(7264927)"))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def _url(place: str) -> URL:
    if "://" not in place:
        return URL.create("sqlite", database=str(Path(place).expanduser() / "flawsight.db"))
    try:
        url = make_url(place)
    except ArgumentError as error:
        raise StoreError("The store is no database URL; write postgresql://USER@HOST/NAME.") from (
            error
        )
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _open(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "postgres") from error
    except NoSuchModuleError as error:
        raise StoreError(f"There is no database {url.drivername}; use postgresql://…") from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Readers beside a writer, commits on the disk, patience with other writers."""
    for setting in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {setting}")


def _storable(content: Any) -> Any:
    """Replace the character NUL, which PostgreSQL takes in no text."""
    if isinstance(content, str):
        return content.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(content, dict):
        return {key: _storable(value) for key, value in content.items()}
    return [_storable(value) for value in content] if isinstance(content, list) else content


@contextmanager
def _explained() -> Iterator[None]:
    """Turn a full disk and a database that is away into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Cannot write to the store: {error.strerror or error}. Make room or mend its "
            "permissions."
        ) from error
    except SQLAlchemyError as error:
        # Not the statement: it may hold what a client wrote.
        raise StoreError(
            f"The database of the store fails ({type(error).__name__}); is it running, and may "
            "this user write to it?"
        ) from error
