"""The run folder: inspections are appended to it row by row, and every later step reads it.

    run.json            model and its hash, settings, versions
    inspections.jsonl   one JSON object per image
    maps/*.npz          one (height, width) float16 array in [0, 1] per image, called anomaly_map
    token_maps/*.npz    one (R, grid_h, grid_w) float16 array per image, called token_maps
    map_layers/*.npz    what the map is made of, float32, called map_layers
    nearest_good/*.npz  with a reference, the nearest good patches, float32, called nearest_good
    reference/*.png     the pictures of its good photos
    overlays/*.png      the map over the photo, on one fixed colour scale
    photos/*.jpg        the photo, small: the report does not need the original
    report.html         the report; its files are in report/ if there are many images
    run.lock, run.owner the lock of the process that writes to the folder, and who it is

Files are written whole or not at all, and a row only after its files are on the disk. No
interruption loses a finished image. Rerun the same command to resume.
"""

import io
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import FlawsightError, RunFolderError
from ..inspection import FloatArray, Inspection
from ..io.file_stamp import FileStamp
from ..io.files import slug, sync_files, write_atomically, writing_to
from ..io.overlay import MAX_SIDE, draw_overlay, encode_jpeg
from .describe import about_run, check_same
from .parquet import ROWS
from .place import check_contents
from .read import ARRAY_FOLDERS, Row, arrays_of, rank_files, read_description, read_rows
from .relabel import relabelled, with_verdicts_of
from .row_check import DAMAGED
from .run_lock import lock_run, remove_temporaries
from .unasked import is_unasked


class RunFolder:
    """A run on disk, new or resumed. Resumed with another threshold, its rows are relabelled.

    Args:
        folder: made if it does not exist.
        about: what all rows of the run share, as JSON types; see `describe`.
        rank: of the process, if several share a run. The first must open it before the others.
            Each of those writes its rows into a file of its own until `merge`.
        images: that are to be inspected. The rows of those whose files have other bytes now are
            dropped; `replaced` lists them. `damaged` is the number of damaged rows, which are, too,
            and so are those that are defective by another threshold and have no words yet.

    Raises:
        RunFolderError: if the folder holds a run of another model or other settings, or other
            files, is in use by another process, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        about: dict[str, Any],
        rank: int = 0,
        images: Iterable[str | Path] = (),
    ) -> None:
        self.folder = folder
        self.replaced: list[str] = []
        self.damaged = 0
        self._rows = folder / (f"inspections.rank-{rank}.jsonl" if rank else "inspections.jsonl")
        self.relabelled = 0
        about = old = resumed = about_run(about)
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            description = folder / "run.json"
            if (folder / ROWS).is_dir():
                raise RunFolderError(
                    f"{folder} was made with --engine ray; resume it so, or choose another --out."
                )
            if description.exists():
                old = read_description(folder)
                resumed = with_verdicts_of(old, about)
                check_same(folder, resumed, about)
            else:
                check_contents(folder)
            if rank == 0:
                self._lock = lock_run(folder)
                remove_temporaries(folder)
            if not description.exists():
                write_atomically(description, (json.dumps(about, indent=2) + "\n").encode())
                sync_files([description])
            for name in ("maps", "token_maps", "map_layers", "overlays", "photos"):
                (folder / name).mkdir(exist_ok=True)
        rows = read_rows(folder)
        if rank == 0:
            # Drops a torn last line, and failed images, which are tried again.
            self.damaged = sum(row.get("error", "").startswith(DAMAGED) for row in rows)
            rows = [row for row in rows if "error" not in row]
            given = set(map(str, images))
            rows = self._of_todays_files(rows, given)
            labelled = relabelled(folder, rows, resumed, old)
            self.relabelled = sum(a != b for a, b in zip(rows, labelled, strict=True))
            wanted = (resumed.get("settings") or {}).get("explain") == "defective"
            rows = [
                row
                for row in labelled
                if not (wanted and row["image"] in given and _lacks_words(row))
            ]
            self._rewrite(rows)
            if resumed != old:
                with writing_to(folder):
                    write_atomically(description, (json.dumps(resumed, indent=2) + "\n").encode())
        self.finished = {row["image"] for row in rows}

    def _of_todays_files(self, rows: list[Row], images: set[str]) -> list[Row]:
        kept = []
        for row in rows:
            if row["image"] in images and "file" in row:
                with suppress(OSError, ValueError):  # there is no such file
                    stamp = FileStamp(**row["file"]).current(row["image"])
                    if stamp is None:
                        self.replaced.append(row["image"])
                        continue
                    row = row | {"file": stamp.to_json()}
            kept.append(row)
        return kept

    def add(
        self,
        inspection: Inspection,
        photo: Image.Image,
        stamp: FileStamp | None = None,
        details: Row | None = None,
    ) -> Row:
        """Write the inspection of an image file and its RGB photo, and return its row.

        `stamp` is that of the file, None if it is not known; `details` are further fields.
        """
        assert inspection.image is not None
        stem = slug(inspection.image)
        png = io.BytesIO()
        draw_overlay(photo, inspection.anomaly_map).save(png, "PNG", compress_level=3)
        files = {"overlay": f"overlays/{stem}.png", "photo": f"photos/{stem}.jpg"}
        row = inspection.to_json() | (details or {}) | files
        if stamp is not None:
            row["file"] = stamp.to_json()
        with writing_to(self.folder):
            write_atomically(self.folder / row["overlay"], png.getbuffer())
            write_atomically(self.folder / row["photo"], encode_jpeg(photo, MAX_SIDE))
        return self.add_row(row, arrays_of(inspection))

    def add_row(self, row: Row, arrays: dict[str, FloatArray]) -> Row:
        """Write the row of an image, of any program, with its "anomaly_map" or "token_maps".

        Returns:
            The row with the names of its files.
        """
        with writing_to(self.folder):
            for name, array in arrays.items():
                (self.folder / ARRAY_FOLDERS[name]).mkdir(exist_ok=True)
                row = row | {name: f"{ARRAY_FOLDERS[name]}/{slug(row['image'])}.npz"}
                write_atomically(self.folder / row[name], encode_array(name, array))
            names = {*ARRAY_FOLDERS, "overlay", "photo"} & row.keys()
            sync_files(self.folder / row[name] for name in names)
            self._append(row)
        return row

    def merge(self, images: Sequence[Path]) -> None:
        """Merge the rows of all processes, which must have ended, in the order of `images`."""
        order = {str(image): index for index, image in enumerate(images)}
        rows = read_rows(self.folder)
        self._rewrite(sorted(rows, key=lambda row: order.get(row["image"], -1)))

    def _rewrite(self, rows: list[Row]) -> None:
        # A killed merge leaves the same rows in two files.
        lines = [json.dumps(row) + "\n" for row in {row["image"]: row for row in rows}.values()]
        with writing_to(self.folder):
            path = self.folder / "inspections.jsonl"
            write_atomically(path, "".join(lines).encode())
            sync_files([path])
            for rank_file in rank_files(self.folder):
                rank_file.unlink()

    def add_error(self, image: str, error: FlawsightError, details: Row | None = None) -> Row:
        """Write the row of an image that failed, with further fields, and return it."""
        row = (details or {}) | {"image": image, "error": f"{type(error).__name__}: {error}"}
        with writing_to(self.folder):
            self._append(row)
        return row

    def _append(self, row: Row) -> None:
        with self._rows.open("ab", buffering=0) as file:
            file.write((json.dumps(row) + "\n").encode())
            os.fsync(file.fileno())


def _lacks_words(row: Row) -> bool:
    return bool(row.get("pred_label")) and is_unasked(row)


def encode_array(name: str, array: FloatArray) -> bytes:
    """Return the .npz file of an array called `name`."""
    content = io.BytesIO()
    # Half precision suits [0, 1]; other programs' scores have any range.
    small = name != "map_layers" and np.abs(array).max(initial=0) <= 1
    arrays = {name: array.astype(np.float16 if small else np.float32)}
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()
