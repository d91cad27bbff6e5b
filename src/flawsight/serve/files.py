"""Photos and arrays as files: a folder an inspection, there whole and on the disk, or not at all.

    ab/0198…ab/photo        as it was uploaded
    ab/0198…ab/arrays.npz   anomaly_map (H, W), token_maps (R, grid_h, grid_w); float16

The folder ab is the id's last two digits. A folder without a row is what a killed process left
between the two; `sweep` removes those.
"""

import io
import os
import shutil
import time
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from ..inspection import FloatArray

# A folder younger than this may belong to a row that another process is about to commit.
SWEEP_AGE = 3600.0


class Files:
    """The folder of photos and arrays."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, id: str) -> Path:
        """Where the files of an inspection lie. An id is made by us, never by a client."""
        return self.root / id[-2:] / id

    def write(self, id: str, photo: bytes, arrays: dict[str, FloatArray]) -> None:
        """Put the files of an inspection on the disk.

        Raises:
            OSError: if there is no room.
        """
        final = self.folder(id)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{id}")
        try:
            temporary.mkdir()
            _write_synced(temporary / "photo", photo)
            _write_synced(temporary / "arrays.npz", pack_arrays(arrays))
            _sync(temporary)
            temporary.rename(final)
            _sync(final.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def remove(self, id: str) -> None:
        """Remove the files of an inspection, as far as they are there."""
        shutil.rmtree(self.folder(id), ignore_errors=True)

    def old_ids(self) -> Iterator[tuple[str, Path]]:
        """Yield the ids and folders that are old enough to be swept, should they have no row."""
        for folder in self.root.glob("??/*"):
            try:
                if time.time() - folder.stat().st_mtime > SWEEP_AGE:
                    yield folder.name.removeprefix("."), folder
            except FileNotFoundError:
                continue

    def sweep(self, known: Collection[str], candidates: list[tuple[str, Path]]) -> int:
        """Remove those of the candidates that are unfinished or have no row."""
        gone = [path for id, path in candidates if path.name[0] == "." or id not in known]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        return len(gone)


def pack_arrays(arrays: dict[str, FloatArray]) -> bytes:
    """Return an npz of float16 arrays, compressed lightly: it is written while a client waits."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array.astype(np.float16), allow_pickle=False)
    return content.getvalue()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
