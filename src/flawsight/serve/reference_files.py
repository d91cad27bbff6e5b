"""The file of a reference that a running service changes: replaced whole, with one backup.

    line3.reference          as the latest change left it
    line3.reference.before   as it was before that change

A process killed at any moment leaves a whole file, the old or the new one.
"""

import hashlib
import stat
from pathlib import Path

from ..errors import LearnError, StoreError
from ..io.files import sync_files, write_atomically
from ..reference.memory import Reference

BACKUP = ".before"


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes; "" if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def replace_reference(reference: Reference, file: Path, known: str) -> str:
    """Write a reference in place of an older one, which becomes the backup.

    Args:
        reference: the new one.
        file: of the old one.
        known: its `digest_of`, as far as the caller knows.

    Returns:
        The new `digest_of`.

    Raises:
        StoreError: if the file is read-only, gone or another one than known, or cannot be written;
            then it stays as it is.
    """
    try:
        # Renaming needs the folder alone, but who makes a file read-only means it to stay.
        if not stat.S_IMODE(file.stat().st_mode) & 0o222:
            raise StoreError(f"{file} is read-only; make it writable to change this reference.")
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != known:
            raise StoreError(
                f"{file} has been changed by another program; restart the service to use it."
            )
        backup = file.with_name(file.name + BACKUP)
        write_atomically(backup, content)
        sync_files([backup])
        reference.save(file)
        sync_files([file])
    except FileNotFoundError as error:
        raise StoreError(f"{file} is gone; put it back, or restart the service.") from error
    except OSError as error:
        raise StoreError(
            f"Cannot write {file} or its backup: {error.strerror or error}. Free disk space or fix "
            "the permissions."
        ) from error
    except LearnError as error:
        raise StoreError(f"{error} The reference stays as it was.") from error
    return digest_of(file)
