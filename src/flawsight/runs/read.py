"""The only reader of run folders: description, rows, maps and token maps, and a bench's truth.

A run written by version 0.1 is returned by today's names.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArrayDeletedError, RunFolderError
from ..inspection import FloatArray
from ..mllm.contradiction import disagreements
from .parquet import ROWS, StorageFolder, read_parquet_rows

# Array of an inspection → the folder of its files, and its number of dimensions.
ARRAY_FOLDERS = {"anomaly_map": "maps", "token_maps": "token_maps", "map_layers": "map_layers"}
_DIMENSIONS = {"anomaly_map": 2, "token_maps": 3, "map_layers": 1}
Row = dict[str, Any]


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
        description: dict[str, Any] = json.loads((folder / "run.json").read_text())
        if not isinstance(description, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{folder} holds no readable run.json: {error}") from error
    return description


def bit_depth_of(description: dict[str, Any]) -> int | None:
    """Return the bit depth with which the photos of a run were read."""
    depth: int | None = (description.get("settings") or description).get("bit_depth")
    return depth


def read_rows(folder: Path, damaged_as_errors: bool = False) -> list[Row]:
    """Return the rows in order; those of Parquet files first.

    Args:
        folder: of the run.
        damaged_as_errors: return a row with an "error" in place of each damaged or torn one.
            Otherwise a torn last line, left by a killed process, is passed over, and a damaged
            line before it is refused.

    Raises:
        RunFolderError: if a row is damaged.
        MissingExtraError: if there are Parquet files, and no pyarrow.
    """
    rows: list[Row] = []
    if (folder / ROWS).is_dir():
        rows += read_parquet_rows(StorageFolder(str(folder)))
    for path in [folder / "inspections.jsonl", *rank_files(folder)]:
        if path.exists():
            rows += _lines(path, damaged_as_errors)
    return [upgraded_row(row) for row in rows]


def _lines(path: Path, damaged_as_errors: bool) -> Iterator[Row]:
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        row = _parse(line)
        if row is not None:
            yield row
        elif damaged_as_errors:
            yield {"image": f"{path.name}, line {number}", "error": "This row is damaged."}
        elif number < len(lines):
            raise RunFolderError(
                f"{path}, line {number} is damaged; delete the line, and run the same command "
                "again to inspect its image again."
            )


def _parse(line: bytes) -> Row | None:
    """Return a row; None if it is damaged: no JSON object, or one that names no image."""
    try:
        row = json.loads(line.decode(errors="replace"))
    except ValueError:
        return None
    names_image = isinstance(row, dict) and isinstance(row.get("image"), str) and row["image"]
    return row if names_image else None


def upgraded_row(row: Row) -> Row:
    """Bring a row to today's fields and return it. Those of 0.1 are read for one release."""
    for field, old, new in (("tokens", "kept", "selected"), ("regions", "words", "phrases")):
        parts = row.get(field)
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and old in part:
                part[new] = part.pop(old)
    verdict, answer = row.get("pred_label"), row.get("answer")
    if "disagreements" not in row and isinstance(verdict, bool) and answer in ("Yes", "No"):
        pairs = disagreements(verdict, answer, str(row.get("explanation") or ""))
        row |= {"contradiction": bool(pairs), "disagreements": list(pairs)}
    return row


def rank_files(folder: Path) -> list[Path]:
    """Return the row files of processes that share a run, of those after the first."""
    return sorted(folder.glob("inspections.rank-*.jsonl"))


def read_array(folder: Path, row: Row, name: str) -> FloatArray:
    """Return an array of an image, in float32.

    Args:
        folder: of the run.
        row: of the image; it names the file.
        name: "anomaly_map", (height, width); "token_maps", (R, grid_h, grid_w); or "map_layers",
            see refine/map_layers.py.

    Raises:
        ArrayDeletedError: if the file is gone.
        RunFolderError: if it is damaged.
    """
    again = "inspect its image again into a new run folder."
    try:
        with np.load(folder / row[name], allow_pickle=False) as arrays:
            array = np.asarray(arrays[name], dtype=np.float32)
        if array.ndim != _DIMENSIONS[name]:
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
        if not all({"image", "label", "category"} <= sample.keys() for sample in samples):
            raise ValueError("a line lacks its image, label or category")
        return Truth(header["dataset"], header["root"], tuple(samples))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{path} is damaged: {error}. Run the bench again.") from error
