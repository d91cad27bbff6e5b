"""Whether a run can be written to a folder, before a model is loaded for it."""

from pathlib import Path

from ..errors import RunFolderError
from ..io.files import check_writable


def check_place(folder: Path) -> None:
    """Make sure that a new run, or the rest of one, can be written to a folder.

    Raises:
        RunFolderError: if it is a file, holds other files, or must not be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; choose another --out.")
    check_writable(folder / "run.json")
    if folder.exists() and any(folder.iterdir()) and not (folder / "run.json").exists():
        raise RunFolderError(f"{folder} holds files but no run; choose another --out.")
