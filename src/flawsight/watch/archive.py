"""Where inspected photos are moved to: FOLDER/good/… and FOLDER/defective/…

A photo is moved after its row, which names its new path and, as "source", its old one, is on the
disk. So a move that a kill prevented is made when the watch goes on, without a second verdict.
"""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..io.file_stamp import FileStamp
from ..runs.read import Row


@dataclass(frozen=True)
class Move:
    """A photo that has a verdict and is to be moved, if it still has those bytes."""

    source: str
    target: str
    stamp: FileStamp


class Archive:
    """Moves photos out of a watched folder, each to a path that no other photo has had.

    Args:
        folder: made when it is needed.
        watched: the folder that the photos come from.
        rows: of the run so far.
    """

    def __init__(self, folder: Path, watched: Path, rows: Iterable[Row] = ()) -> None:
        self.folder = folder.absolute()
        self._watched = watched.absolute()
        self._used: set[str] = set()
        self._numbers: dict[str, int] = {}
        self.pending: dict[str, Move] = {}
        for row in rows:
            self._used.add(row["image"])
            if "source" in row and "file" in row and os.path.exists(row["source"]):
                move = Move(row["source"], row["image"], FileStamp(**row["file"]))
                if _has(move.source, move.stamp):
                    self.pending[move.source] = move

    def target(self, source: str, defective: bool) -> str:
        """Return the path that a photo of the watched folder gets, and that no other gets."""
        kind = "defective" if defective else "good"
        wanted = self.folder / kind / os.path.relpath(source, self._watched)
        number = self._numbers.get(str(wanted), 0)
        while True:
            number += 1
            name = wanted.name if number == 1 else f"{wanted.stem}-{number}{wanted.suffix}"
            path = str(wanted.with_name(name))
            if path not in self._used and not os.path.lexists(path):
                break
        self._numbers[str(wanted)] = number
        self._used.add(path)
        return path

    def move_all(self) -> tuple[list[str], str | None]:
        """Make the moves that are due.

        Returns:
            The sources of which nothing is left to move, and why the others are still there.
        """
        moved, reason = [], None
        for source, move in list(self.pending.items()):
            try:
                _move(move)
            except OSError as error:
                reason = f"Cannot move {source} to {move.target}: {error.strerror or error}."
                continue
            del self.pending[source]
            moved.append(source)
        return moved, reason


def _has(path: str, stamp: FileStamp) -> bool:
    with suppress(OSError):
        return stamp.current(path) is not None
    return False


def _move(move: Move) -> None:
    """Move a file; one with other bytes than those of the verdict stays.

    Raises:
        OSError: if it cannot be moved.
    """
    if not os.path.exists(move.source) or not _has(move.source, move.stamp):
        return
    if _has(move.target, move.stamp):  # copied by a process that was killed then
        os.unlink(move.source)
        return
    target = Path(move.target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(move.source, target)
    except OSError:  # another disk, or no right to move
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            shutil.copy2(move.source, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        os.unlink(move.source)
