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


def slug(image: str) -> str:
    """Return a file name for an image's results: readable, and distinct for distinct paths."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(image).stem)[:40]
    # Names need not be valid text: POSIX gives single bytes as surrogates, Windows any surrogate.
    return f"{readable}-{hashlib.sha256(image.encode(errors='surrogatepass')).hexdigest()[:16]}"
