"""Atomic file writes, and file names for the results of an image."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RunFolderError


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an OSError, like that of a full disk, into one that says what to do.

    Raises:
        RunFolderError: in its place.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"Cannot write to {folder}: {error.strerror or error}. Finished results are kept. Free "
            "disk space or fix the permissions, and run the same command again."
        ) from error


def check_writable(path: Path) -> None:
    """Make sure, before hours of work, that a file can be written at a path.

    Raises:
        RunFolderError: if it is a folder, or the folder above it is none or must not be written to.
    """
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir():
        raise RunFolderError(f"Cannot write {path}: it is a folder; choose another --out.")
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise RunFolderError(f"Cannot write {path}: {above} takes no files; choose another --out.")


def slug(image: str) -> str:
    """Return a file name for an image's results: readable, and distinct for distinct paths."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(image).stem)[:40]
    return f"{readable}-{hashlib.sha256(image.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
