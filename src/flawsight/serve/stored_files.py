"""Photos and arrays as files: a folder an inspection, whole and on the disk before its row is.

    ab/0198…ab/photo        as it was uploaded
    ab/0198…ab/arrays.npz   token_maps (R, grid_h, grid_w), and anomaly_map, of the same size where
                            it is that grid interpolated, else up to 512 pixels a side, in 1024ths
                            (grids.py); float16

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
        folder = self.folder(id)
        try:
            folder.mkdir(parents=True)
            written = [folder / "photo", folder / "arrays.npz"]
            for path, content in zip(written, (photo, pack_arrays(arrays)), strict=True):
                path.write_bytes(content)
            # One after the other at the end: a file system that keeps a journal then commits it
            # once for all of them.
            for path in (*written, folder, folder.parent, self.root):
                _sync(path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def remove(self, id: str) -> None:
        """Remove the files of an inspection, as far as they are there."""
        shutil.rmtree(self.folder(id), ignore_errors=True)

    def old(self) -> Iterator[Path]:
        """Yield the folders that are old enough to be swept, should their ids have no row."""
        for folder in self.root.glob("??/*"):
            try:
                if time.time() - folder.stat().st_mtime > SWEEP_AGE:
                    yield folder
            except FileNotFoundError:
                continue

    def sweep(self, known: Collection[str], candidates: list[Path]) -> int:
        """Remove those of the candidates that have no row; return how many."""
        gone = [folder for folder in candidates if folder.name not in known]
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)
        return len(gone)


def pack_arrays(arrays: dict[str, FloatArray]) -> bytes:
    """Return an npz of float16 arrays, compressed lightly: it is written while a client waits."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array.astype(np.float16), allow_pickle=False)
    return content.getvalue()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
