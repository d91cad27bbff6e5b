"""Paths → image files, and what of them is left out, with the reason."""

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import ImageError
from .heif import HEIF_SUFFIXES
from .images import SUFFIXES

_SEPARATOR = r"[/\\]" if os.name == "nt" else "/"
_DEEP = re.compile(rf"((?:.*?{_SEPARATOR})??)\*\*(?:{_SEPARATOR}+(.*))?", re.DOTALL)
HIDDEN = "hidden"
OTHER = "not of an image's type"
PLUGIN = "needs pip install 'flawsight[heif]'"
MASK = "in ground_truth/, which holds the masks of a data set"
RUN = "in a run folder, which holds a run.json"
HISTOGRAM = "written by flawsight calibrate"
BROKEN = "a link to nothing, or no file"


@dataclass(frozen=True)
class Found:
    """The images of some paths.

    Attributes:
        images: absolute paths, in the order of the given ones, sorted in each folder or glob.
        left_out: the files and folders (with a slash at the end) that are not used, by reason.
    """

    images: tuple[Path, ...]
    left_out: dict[str, list[str]]


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Return the absolute paths of all images of files, folders (recursively) and globs.

    Raises:
        ImageError: as `search_images`, which also says what is left out.
    """
    return list(search_images(paths).images)


def images_below(folder: str | Path, leave_out: Collection[str] = ()) -> list[str]:
    """Return the absolute paths of the images that `search_images` finds in a folder, maybe none.

    Args:
        folder: searched with all below it; the paths are in no order.
        leave_out: folders to leave out, as real paths.

    Raises:
        ImageError: if a folder cannot be read.
    """
    search = _Search(leave_out)
    search.walk(os.path.abspath(folder))
    return search.images


def search_images(paths: Iterable[str | Path]) -> Found:
    """Find all images of files, folders (recursively) and globs, without repetitions.

    A file may have any suffix. In folders, links are followed; hidden files, files without the
    suffix of an image, and ground_truth/, the masks of data sets, are left out. So is everything
    in a run folder, whichever way it is reached.

    Raises:
        ImageError: if a path does not exist, cannot be read or holds no image.
    """
    found: dict[str, str] = {}
    left_out: dict[str, str] = {}
    real = cache(os.path.realpath)
    for given in paths:
        # os.path accepts names that make pathlib raise: "~backup.png", or one that is too long.
        path = os.path.expanduser(given)
        search = _Search()
        if os.path.isfile(path):
            search.add(path, named=True)
        elif os.path.isdir(path):
            search.walk(path)
        else:
            search.match(path)
        if not search.images:
            if search.left_out:
                raise ImageError(f"{given} holds no image to inspect: {search.reasons()}.")
            if os.path.isdir(path):
                raise ImageError(f"{given} holds no image ({', '.join(sorted(SUFFIXES))}).")
            raise ImageError(f"There is no image at {given}. Give files, folders or globs.")
        for image in sorted(search.images, key=lambda one: one.split(os.sep)):
            folder, name = os.path.split(image)
            found.setdefault(os.path.join(real(folder), name), os.path.abspath(image))
        left_out |= search.left_out
    used = set(found.values())
    reasons: dict[str, list[str]] = {}
    for file, reason in sorted(left_out.items()):
        if os.path.abspath(file) not in used:
            reasons.setdefault(reason, []).append(file)
    return Found(tuple(map(Path, found.values())), reasons)


class _Search:
    """The images of one path, and the reason of each file that is left out."""

    def __init__(self, leave_out: Collection[str] = ()) -> None:
        self.images: list[str] = []
        self.left_out: dict[str, str] = {}
        self._walked = set(leave_out)  # as if they were done
        self._in_run = cache(self._find_run)

    def reasons(self) -> str:
        """Return how many files are left out for which reason."""
        counts: dict[str, int] = {}
        for reason in self.left_out.values():
            counts[reason] = counts.get(reason, 0) + 1
        return "; ".join(f"{count} {reason}" for reason, count in counts.items())

    def match(self, pattern: str) -> None:
        """Add the files and folders that match a glob; folders with all that is below."""
        tops: set[str] = set()
        for hit in sorted(set(_matches(pattern)), key=lambda one: one.split(os.sep)):
            if os.path.isdir(hit):
                if tops.isdisjoint(_parents(hit)):
                    tops.add(os.path.normpath(hit))
                    self.walk(hit)
            elif tops.isdisjoint(_parents(hit)):
                masked = "ground_truth" in hit.split(os.sep) and "ground_truth" not in pattern
                self.add(hit, MASK if masked else None)

    def walk(self, top: str) -> None:
        """Add the files below a folder. Links come last: a file's own path wins over theirs."""
        folders: list[tuple[str, str | None]] = [(top, None)]
        links: list[tuple[str, str | None]] = []
        while folders or links:
            folder, reason = folders.pop() if folders else links.pop(0)
            real = os.path.realpath(folder)
            if real in self._walked:
                continue
            self._walked.add(real)
            if self._in_run(real):
                self.left_out[os.path.join(folder, "")] = RUN
                continue
            for entry in _entries(folder):
                if entry.name.startswith("."):
                    slash = "/" if entry.is_dir() else ""
                    self.left_out[entry.path + slash] = HIDDEN
                elif entry.is_dir():
                    why = MASK if entry.name == "ground_truth" else reason
                    (links if entry.is_symlink() else folders).append((entry.path, why))
                else:
                    linked = entry.is_symlink() or not entry.is_file()
                    self.add(entry.path, reason, linked=linked)

    def add(
        self, file: str, reason: str | None = None, *, named: bool = False, linked: bool = True
    ) -> None:
        """Add a file, or why it is left out. One that is `named` outright may have any suffix."""
        suffix = os.path.splitext(file)[1].lower()
        if linked and not os.path.isfile(file):
            reason = BROKEN
        elif linked and self._in_run(os.path.dirname(os.path.realpath(file))):
            reason = RUN
        elif reason is None and not named and suffix not in SUFFIXES:
            reason = PLUGIN if suffix in HEIF_SUFFIXES else OTHER
        elif not named and file.endswith(".json.png") and os.path.isfile(file[:-4]):
            reason = HISTOGRAM
        if reason is None:
            self.images.append(file)
        else:
            self.left_out[file] = reason

    def _find_run(self, folder: str) -> bool:
        parent = os.path.dirname(folder)
        return os.path.isfile(os.path.join(folder, "run.json")) or (
            parent != folder and self._in_run(parent)
        )


def _matches(pattern: str) -> Iterator[str]:
    """Yield what a glob matches. Its ** enters each folder once: links may lead in circles."""
    deep = _DEEP.fullmatch(pattern)
    if deep is None:
        yield from glob.iglob(pattern)
        return
    above, below = deep.groups()
    for top in glob.iglob(above) if above else [""]:
        if below is None:
            yield from [top] if top else glob.iglob("*")
        else:
            for folder in _folders(top):
                yield from _matches(os.path.join(glob.escape(folder), below))


def _folders(top: str) -> Iterator[str]:
    """Yield a folder and all below that are not hidden, each real one once and links last."""
    folders, links, seen = [top], list[str](), set[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        yield folder
        try:
            entries = _entries(folder or os.curdir)
        except ImageError:
            continue  # as a glob does
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                inner = os.path.join(folder, entry.name)
                (links if entry.is_symlink() else folders).append(inner)


def _parents(path: str) -> Iterator[str]:
    path = os.path.normpath(path)
    while (parent := os.path.dirname(path)) != path:
        yield parent or os.curdir
        path = parent


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ImageError(
            f"Cannot read the folder {folder}: {error.strerror or error}. Make it readable, or "
            "name the others."
        ) from error
