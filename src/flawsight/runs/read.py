"""The only reader of run folders: description, rows, maps and token maps, and a bench's truth.

A run written by version 0.1 is returned by today's names.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArrayDeletedError, RunFolderError
from ..inspection import FloatArray, Inspection
from .parquet import ROWS, StorageFolder, read_parquet_rows
from .row_check import DAMAGED, parse_row
from .row_check import Row as Row

# Array of an inspection → the folder of its files, and its number of dimensions.
ARRAY_FOLDERS = {
    "anomaly_map": "maps", "token_maps": "token_maps", "map_layers": "map_layers",
    "nearest_good": "nearest_good",
}  # fmt: skip
_DIMENSIONS = {"anomaly_map": 2, "token_maps": 3, "map_layers": 1, "nearest_good": 3}
_LARGEST_ARRAY = 4 << 30  # bytes
# Types of what readers use of run.json, of `inspect` and of a bench; all may be missing.
_DESCRIPTION: dict[str, Any] = {
    "format": int, "created": str, "model": dict | str, "settings": dict, "versions": dict,
    "threshold": int | float, "prior_sha256": str, "reference_sha256": str,
    "prompt_photos_sha256": str, "good_pictures": list, "detector": str,
}  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """The name, the folder and the labels of a bench's data set.

    `samples` has one row per image, as `data.dataset.Sample.to_json` writes them.
    """

    dataset: str
    root: str
    samples: tuple[Row, ...]


def holds_run(folder: Path) -> bool:
    """Whether a folder has a description and rows, in whichever form."""
    has_rows = (folder / "inspections.jsonl").is_file() or (folder / ROWS).is_dir()
    return has_rows and (folder / "run.json").is_file()


def read_description(folder: Path) -> dict[str, Any]:
    """Return run.json.

    Raises:
        RunFolderError: if there is none, or it is damaged.
    """
    try:
        description: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise ValueError("it is no JSON object")
        for name, kinds in _DESCRIPTION.items():
            if not isinstance(description.get(name), kinds | None):
                raise ValueError(f"its {name} has a wrong type")
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(
            f"{folder} holds no readable run.json: {error}. Put a copy back, or choose another "
            "run folder."
        ) from error
    return description


def bit_depth_of(description: dict[str, Any]) -> int | None:
    """Return the bit depth with which the photos of a run were read."""
    depth: int | None = (description.get("settings") or description).get("bit_depth")
    return depth


def read_rows(folder: Path, damaged_as_errors: bool = False) -> list[Row]:
    """Return the rows in order, one per image; those of Parquet files first.

    Of an image that was inspected again the last row counts, at the place of its first.

    In place of a damaged row there is one with an "error": of its image if that can be read, else
    of its line.

    Args:
        folder: of the run.
        damaged_as_errors: do so for a torn last line, too, which a killed process leaves, and
            which is passed over otherwise.

    Raises:
        RunFolderError: if a file cannot be read.
        MissingExtraError: if there are Parquet files, and no pyarrow.
    """
    rows: list[Row] = []
    if (folder / ROWS).is_dir():
        rows += read_parquet_rows(StorageFolder(str(folder)))
    for path in [folder / "inspections.jsonl", *rank_files(folder)]:
        if path.exists():
            rows += _lines(path, damaged_as_errors)
    return list({row["image"]: row for row in rows}.values())


def _lines(path: Path, torn_as_error: bool) -> Iterator[Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"Cannot read {path}: {error.strerror or error}.") from error
    *lines, last = content.split(b"\n")
    for number, line in enumerate([*lines, last] if last else lines, start=1):
        # A name that is not of UTF-8 is escaped in JSON: other bytes are damage.
        row = parse_row(line.decode(errors="replace"))
        if row is not None:
            yield row
        elif number <= len(lines) or torn_as_error:
            yield {"image": f"{path.name}, line {number}", "error": f"{DAMAGED}."}


def rank_files(folder: Path) -> list[Path]:
    """Return the row files of processes that share a run, of those after the first."""
    return sorted(folder.glob("inspections.rank-*.jsonl"))


def read_array(folder: Path, row: Row, name: str) -> FloatArray:
    """Return an array of an image, in float32.

    Args:
        folder: of the run.
        row: of the image; it names the file.
        name: "anomaly_map", (height, width); "token_maps", (R, grid_h, grid_w); "map_layers", see
            refine/map_layers.py; or "nearest_good", (h, w, 3), see `Inspection`.

    Raises:
        ArrayDeletedError: if the file is gone.
        RunFolderError: if it is damaged.
    """
    again = "inspect its image again into a new run folder."
    try:
        path = path_in(folder, row[name])
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(f"{name}.npy").file_size > _LARGEST_ARRAY:
                raise ValueError("it is too large")
        with np.load(path, allow_pickle=False) as arrays:
            array = np.asarray(arrays[name], dtype=np.float32)
        size = list(array.shape if name == "anomaly_map" else array.shape[:1])
        expected = row.get("image_size") if name == "anomaly_map" else None
        if name == "token_maps" and "tokens" in row:
            expected = [len(row["tokens"])]
        if name == "nearest_good" and (array.shape[2:] != (3,) or not array.size):
            raise ValueError(f"it has the shape {array.shape}")
        if array.ndim != _DIMENSIONS[name] or 0 in array.shape[1:] or expected not in (None, size):
            raise ValueError(f"it has the shape {array.shape}")
    except FileNotFoundError as error:
        raise ArrayDeletedError(
            f"The {name.replace('_', ' ')} {row[name]} of {folder} was deleted; {again}"
        ) from error
    except Exception as error:  # a damaged file makes NumPy raise nearly anything
        raise RunFolderError(
            f"Cannot read the {name.replace('_', ' ')} {row[name]} of {folder} ({error}); {again}"
        ) from error
    return array


def arrays_of(inspection: Inspection) -> dict[str, FloatArray]:
    """Return the arrays of an inspection that a run keeps, by name."""
    arrays = {name: getattr(inspection, name) for name in ARRAY_FOLDERS}
    return {name: one for name, one in arrays.items() if name != "nearest_good" or one.size}


def path_in(folder: Path, name: str) -> Path:
    """Return the path of a file that a row names.

    Raises:
        RunFolderError: if it leads out of the folder, be it through a link.
    """
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle
        inside = False
    if not inside:
        raise RunFolderError(f"{name} of {folder} leads out of the run folder; remove the link.")
    return path


def read_truth(folder: Path) -> Truth | None:
    """Return truth.jsonl in `folder`, which is above the run folders; None if there is none.

    Raises:
        RunFolderError: if it is damaged.
    """
    path = folder / "truth.jsonl"
    if not path.exists():
        return None
    try:
        header, *samples = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        for sample in samples:
            texts = (sample["image"], sample["category"])
            if not all(isinstance(text, str) for text in texts) or sample["label"] not in (0, 1):
                raise ValueError("the image, label or category of a line has a wrong type")
        return Truth(str(header["dataset"]), str(header["root"]), tuple(samples))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(f"{path} is damaged: {error}. Run the bench again.") from error
