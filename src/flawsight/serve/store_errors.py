"""What is wrong with the store: full, gone, locked, read-only, damaged or unreachable."""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import StoreError

_FULL = "is full. Free disk space or lower --keep."
_GONE = "is gone: it was deleted or moved. Put it back and restart the service."
_LOCKED = "is locked by another program. End that program, or wait for it."
_READ_ONLY = "cannot be written to. Fix the permissions, or make it writable."
_DAMAGED = "is damaged. Restore it from a backup and restart the service."
_AWAY = "cannot be reached. Check that it is running and that this user may connect."
_CROWDED = "has no free connection. Raise its max_connections, or end other programs."
SLOW = "does not answer in time. Check whether it is overloaded, stopped or locked."

_OF_ERRNO = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ESTALE), _GONE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _READ_ONLY),
}
# Beginnings of SQLite's names and of PostgreSQL's codes.
_OF_DATABASE = {
    "SQLITE_FULL": _FULL, "SQLITE_IOERR_WRITE": _FULL, "SQLITE_IOERR_SHMSIZE": _FULL,
    "53100": _FULL,
    "SQLITE_READONLY_DBMOVED": _GONE, "SQLITE_CANTOPEN": _GONE, "42P01": _GONE, "3D000": _GONE,
    "SQLITE_BUSY": _LOCKED, "SQLITE_LOCKED": _LOCKED, "55P03": _LOCKED,
    "SQLITE_READONLY": _READ_ONLY, "25006": _READ_ONLY, "42501": _READ_ONLY,
    "SQLITE_CORRUPT": _DAMAGED, "SQLITE_NOTADB": _DAMAGED, "XX001": _DAMAGED, "XX002": _DAMAGED,
    "08": _AWAY, "28": _AWAY, "57P": _AWAY, "53300": _CROWDED,
}  # fmt: skip
# What PostgreSQL says to a new connection, which gets no code.
_OF_CONNECTING = {
    r"too many (clients|connections)|connection slots": _CROWDED,
    r'database ".*" does not exist': _GONE,
}


@contextmanager
def explained() -> Iterator[None]:
    """Turn errors of disk and database into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        what = _OF_ERRNO.get(error.errno or 0, "cannot be read or written.")
        raise StoreError(f"The store {what} ({error.strerror or error})") from error
    except SQLAlchemyError as error:
        # Without the statement, which may contain a client's data.
        raise StoreError(f"The database of the store {_database(error)}") from error


def _database(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else None
    code = str(getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or "")
    if code == "SQLITE_ERROR" and "no such table" in str(cause):
        return _GONE
    for begins, what in _OF_DATABASE.items():
        if code.startswith(begins):
            return what
    if isinstance(error, PoolTimeout):
        return SLOW
    if isinstance(error, OperationalError) and not code:
        said = (what for text, what in _OF_CONNECTING.items() if re.search(text, str(cause)))
        return next(said, _AWAY)
    name = type(error).__name__
    return f"failed ({name}). Check that it is running and that this user may write to it."


class Presence:
    """Files and folders that must stay the same ones while the service runs.

    A deleted database that is still open takes commits that nobody will ever read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = {path: _identity(path) for path in paths}
        # While it is open, no other folder gets its number. SQLite keeps the database open.
        self._open = [os.open(path, os.O_RDONLY) for path in self._known if path.is_dir()]

    def check(self) -> None:
        """Raise a StoreError if one of them is gone or another one took its place."""
        for path, known in self._known.items():
            with explained():
                if _identity(path) != known:
                    raise StoreError(f"The store {_GONE} ({path.name})")

    def close(self) -> None:
        """Let them go."""
        while self._open:
            os.close(self._open.pop())


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
