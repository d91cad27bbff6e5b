"""Whether a run can be written to a folder, before a model is loaded for it."""

from pathlib import Path

from ..errors import RunFolderError
from ..io.files import check_writable
from .read import ARRAY_FOLDERS
from .run_lock import is_leftover


def check_place(folder: Path) -> None:
    """Make sure that a new run, or the rest of one, can be written to a folder.

    Raises:
        RunFolderError: if it is a file, holds other files, or must not be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; choose another --out.")
    check_writable(folder / "run.json")
    if folder.exists():
        check_contents(folder)


def check_contents(folder: Path) -> None:
    """Make sure that a folder holds a run, or at most what one killed at its start leaves.

    Raises:
        RunFolderError: if it does not.
    """
    if not (folder / "run.json").exists() and any(map(_is_of_others, folder.iterdir())):
        raise RunFolderError(f"{folder} holds files but no run; choose another --out.")


def _is_of_others(path: Path) -> bool:
    """Whether a file is none that a run killed at its start leaves."""
    if path.is_dir():
        return path.name not in (*ARRAY_FOLDERS.values(), "overlays", "photos") or any(
            path.iterdir()
        )
    return not is_leftover(path)
