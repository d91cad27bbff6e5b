"""Photos and arrays as files: one folder per inspection, on disk before its row is committed.

    ab/0198…ab/photo        as it was uploaded
    ab/0198…ab/arrays.npz   float16: token_maps (R, grid_h, grid_w), and anomaly_map, at most 512
                            pixels a side (stored_maps.py)

The folder ab is the last two digits of the id. A process killed between the two steps leaves a
folder without a row; `sweep` removes it.
"""

import io
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..inspection import FloatArray

HalfArray = NDArray[np.float16]
Arrays = Mapping[str, FloatArray | HalfArray]

# A folder younger than this may belong to a row that another process is about to commit.
SWEEP_AGE = 3600.0
_PROBE_BYTES = 1 << 20


class Files:
    """The folder of photos and arrays."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, id: str) -> Path:
        """Return the folder of an inspection. Ids come from us, never from a client."""
        return self.root / id[-2:] / id

    def write(self, id: str, photo: bytes, arrays: Arrays) -> None:
        """Write the files of an inspection to disk.

        Raises:
            OSError: if there is no room.
        """
        folder = self.folder(id)
        try:
            # Not the root: if it is gone, so is the store.
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir()
            written = [folder / "photo", folder / "arrays.npz"]
            for path, content in zip(written, (photo, pack_arrays(arrays)), strict=True):
                path.write_bytes(content)
            # All at the end: a journaling file system then commits once for all of them.
            for path in (*written, folder, folder.parent, self.root):
                _sync(path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def probe(self) -> None:
        """Write and delete a file of one MiB, which most photos need less than.

        Raises:
            OSError: if there is no room.
        """
        with tempfile.TemporaryFile(dir=self.root, buffering=0) as file:
            file.write(bytes(_PROBE_BYTES))
            os.fsync(file.fileno())

    def remove(self, id: str) -> None:
        """Remove the files of an inspection, if there are any."""
        shutil.rmtree(self.folder(id), ignore_errors=True)

    def old(self) -> Iterator[str]:
        """Yield the ids whose folders are old enough to be swept if they have no row."""
        for folder in self.root.glob("??/*"):
            with suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > SWEEP_AGE:
                    yield folder.name


def pack_arrays(arrays: Arrays) -> bytes:
    """Return an npz of float16 arrays, compressed fast because a client waits for it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(
                    file, array.astype(np.float16, copy=False), allow_pickle=False
                )
    return content.getvalue()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
