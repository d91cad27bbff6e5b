"""The good photos' pictures in a run folder: `reference/`, for the report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RunFolderError
from ..inspection import FloatArray, GoodPicture
from ..io.files import slug, sync_files, write_atomically, writing_to
from ..reference.memory import Reference
from .read import path_in
from .row_check import is_name, is_size

PICTURES = "reference"


def picture_file(photo: str) -> str:
    """Return the path in a run folder of a good photo's picture, of any name."""
    return f"{PICTURES}/{slug(photo)}.png"


def find_picture(folder: Path, photo: str) -> str | None:
    """Return the path in a run folder of a good photo's picture; None if it is gone.

    Raises:
        RunFolderError: if it leads out of the folder.
    """
    name = picture_file(photo)
    return name if path_in(folder, name).is_file() else None


def write_pictures(write: Callable[[str, bytes], None], reference: Reference) -> None:
    """Write the pictures of a reference's photos by their paths in the run folder."""
    for photo in reference.photos:
        write(picture_file(photo.name), photo.picture)


def save_pictures(folder: Path, reference: Reference) -> None:
    """Write the pictures of a reference's photos into a run folder that lacks them.

    Raises:
        RunFolderError: if it cannot be written.
    """
    new = []

    def write(name: str, content: bytes) -> None:
        if not path_in(folder, name).is_file():
            write_atomically(folder / name, content)
            new.append(folder / name)

    with writing_to(folder):
        (folder / PICTURES).mkdir(exist_ok=True)
        write_pictures(write, reference)
        sync_files(new)


def read_pictures(folder: Path, about: dict[str, Any], nearest: FloatArray) -> list[GoodPicture]:
    """Return the pictures that run.json lists.

    Args:
        folder: of the run.
        about: run.json.
        nearest: `Inspection.nearest_good` of one of its images.

    Raises:
        RunFolderError: if they are damaged, or the image's good patches lie in others.
    """
    listed = about.get("good_pictures") or []
    sound = all(
        isinstance(one, dict) and is_name(one.get("name")) and is_size(one.get("size"))
        for one in listed
    )
    inside = np.isfinite(nearest).all() and (nearest >= 0).all()
    if not sound or not inside or (nearest[..., 0] >= len(listed)).any():
        raise RunFolderError(
            f"The good_pictures in {folder / 'run.json'} are damaged; inspect the images again "
            "into a new run folder."
        )
    return [GoodPicture(one["name"], (one["size"][0], one["size"][1])) for one in listed]
