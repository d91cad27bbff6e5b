"""One inspection at a time writes to a run folder."""

import errno
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from ..errors import RunFolderError
from ..io.files import TEMPORARY

LOCK, OWNER = "run.lock", "run.owner"
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def lock_run(folder: Path) -> BaseFileLock:
    """Lock a run folder for this process, and return the lock, which holds as long as it exists.

    The operating system frees it when the process ends, however it ends. On a file system without
    locks, a file marks the folder instead.

    Raises:
        RunFolderError: if another process holds it; it is named.
        OSError: if the folder cannot be written.
    """
    path = folder.resolve() / LOCK
    lock: BaseFileLock = FileLock(path, 0, thread_local=False, is_singleton=True)
    try:
        try:
            lock.acquire()
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _UNSUPPORTED:
                raise
            lock = SoftFileLock(path, 0, thread_local=False, is_singleton=True)
            lock.acquire()
    except Timeout as error:
        raise RunFolderError(
            f"{folder} is in use by {_owner(folder)}. Wait for it, or choose another --out."
        ) from error
    about = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # Not in the lock's own file, which Windows lets no other process read.
    (folder / OWNER).write_text(json.dumps(about) + "\n", encoding="utf-8")
    return lock


def is_leftover(path: Path) -> bool:
    """Whether a file may be left by a process that was killed before it wrote run.json."""
    return path.name in (LOCK, OWNER) or TEMPORARY.fullmatch(path.name) is not None


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of a killed process. The folder must be locked."""
    for parent, _, names in os.walk(folder):
        for name in filter(TEMPORARY.fullmatch, names):
            os.unlink(os.path.join(parent, name))


def _owner(folder: Path) -> str:
    try:
        about = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
