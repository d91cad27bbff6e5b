"""Opening and migrating the database of a store: SQLite or PostgreSQL."""

from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.util
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from ..errors import MissingExtraError, StoreError
from .database import parsed_json

LOCK_SECONDS = 5
# The SQLite file of a store that is a folder.
DATABASE = "flawsight.db"
# Without these, a connection to a machine that vanished hangs for hours.
_NETWORK = {
    "connect_timeout": "5", "tcp_user_timeout": "10000", "keepalives_idle": "5",
    "keepalives_interval": "2", "keepalives_count": "3",
}  # fmt: skip


def database_url(location: str) -> URL:
    """Return the URL of a folder's SQLite database, or of a database.

    Raises:
        StoreError: if it is no URL.
    """
    if "://" not in location:
        return URL.create("sqlite", database=str(Path(location).expanduser() / DATABASE))
    try:
        url = make_url(location)
    except ArgumentError as error:
        raise StoreError(
            "--store is not a database URL; use postgresql://USER@HOST/NAME."
        ) from error
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def open_database(url: URL) -> Engine:
    """Return an engine; nothing is asked of the database yet.

    Raises:
        StoreError: if there is no driver for it.
    """
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        given = url.query.get("options", "")
        bounds = _NETWORK | url.query | {"options": f"-c lock_timeout={LOCK_SECONDS}s {given}"}
        url = url.set(query=bounds)
        options["pool_timeout"] = LOCK_SECONDS
    try:
        engine = create_engine(url, pool_pre_ping=True, json_deserializer=parsed_json, **options)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "postgres") from error
    except NoSuchModuleError as error:
        raise StoreError(
            f"Database {url.drivername} is not supported; use postgresql://…"
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def migrate(engine: Engine) -> None:
    """Apply the migrations in this package.

    Raises:
        StoreError: if the database is of another version, or damaged.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", "flawsight.serve:migrations")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Services that start together wait for the first one to migrate.
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(7264927)"))
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except alembic.util.CommandError as error:
            raise StoreError(
                "The database of the store is of a newer version of flawsight, or damaged."
            ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Let readers work during a write, sync each commit, and wait for other writers.

    Text that is not UTF-8 is read nevertheless: it is the fault of one row.
    """
    connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    for setting in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={LOCK_SECONDS}000"):
        connection.execute(f"PRAGMA {setting}")
