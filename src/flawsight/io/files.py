"""Atomic file writes, and file names for the results of an image."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path, PurePath

from ..errors import RunFolderError

_SYNCED_AT_ONCE = 8
_LONGEST = 255  # bytes of a file's name, on most file systems
_RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))}


# Of the names of `write_atomically`: .NAME.PID
TEMPORARY = re.compile(r"\..+\.\d+")


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all. Only `sync_files` makes sure that a power cut keeps it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_files(paths: Iterable[Path]) -> None:
    """Wait until files and their names are on the disk; all at once, which takes as long as one."""
    files = list(paths)
    # Windows opens no folders.
    folders = {path.parent for path in files} if os.name != "nt" else set()
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        list(pool.map(_sync, [*files, *folders]))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    # Names need not be valid text: POSIX gives single bytes as surrogates, Windows any surrogate.
    return f"{readable}-{hashlib.sha256(image.encode(errors='surrogatepass')).hexdigest()[:16]}"


def short_names(paths: Sequence[str | PurePath]) -> list[str]:
    """Return the paths below their common folder, with slashes: files of one name stay apart."""
    parts = [PurePath(path).parts for path in paths]
    levels = zip(*(one[:-1] for one in parts), strict=False)
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    return [PurePath(*one[shared:]).as_posix() if one else "" for one in parts]


def portable_name(name: str, suffix: str) -> str:
    """Return a relative path with a suffix added, for any operating system.

    A part of it that is too long, or that Windows reserves or shortens (aux.png, a dot or blank at
    the end), becomes its `slug`.
    """
    *folders, file = name.split("/")
    named = (slug(part) if _is_odd(part, part) else part for part in folders)
    return "/".join([*named, f"{slug(file) if _is_odd(file, file + suffix) else file}{suffix}"])


def _is_odd(part: str, name: str) -> bool:
    too_long = len(name.encode(errors="surrogatepass")) > _LONGEST
    return (
        too_long or part.partition(".")[0].strip().lower() in _RESERVED or name[-1:] in (".", " ")
    )
