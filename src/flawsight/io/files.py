"""Files written whole or not at all, and names for what belongs to an image."""

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
    """Turn a full disk or a forbidden folder into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"Cannot write to {folder}: {error.strerror or error}. What is finished is kept; make "
            "room or mend the permissions, and run the same command again."
        ) from error


def slug(image: str) -> str:
    """A file name for an image's results: readable, and distinct for distinct paths."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(image).stem)[:40]
    return f"{readable}-{hashlib.sha256(image.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
