"""`run:FOLDER`: predictions of another program, in the format of docs/predictions.md."""

import csv
import hashlib
import json
import math
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import DetectorError, FlawsightError
from ...inspection import FloatArray
from ...io.file_stamp import was_replaced
from ...io.images import upright_size
from .protocol import Prediction, each

FILES = ("predictions.jsonl", "predictions.csv", "inspections.jsonl")
_TRUE, _FALSE = {"true", "1", "1.0", "yes"}, {"false", "0", "0.0", "no"}
Row = dict[str, Any]


class PredictionsDetector:
    """A folder of predictions.

    Args:
        folder: with one of `FILES`; the first found is read.
        name: in tables; None is the folder's name.

    Raises:
        DetectorError: if the folder holds no readable predictions.
    """

    batch_size = 16

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self.name = name or folder.resolve().name
        file = next((folder / name for name in FILES if (folder / name).is_file()), None)
        if file is None:
            raise DetectorError(f"{folder} holds no predictions: none of {', '.join(FILES)}.")
        try:
            content = file.read_bytes()
            # A torn last line of JSON may end within a character.
            errors = "strict" if file.suffix == ".csv" else "replace"
            rows = _parse(content.decode("utf-8-sig", errors), file)
        except (OSError, UnicodeDecodeError) as error:
            raise DetectorError(f"Cannot read {file}: {error}") from error
        self._sha256 = hashlib.sha256(content).hexdigest()
        self._by_name: dict[str, list[Row]] = {}
        for row in rows:
            self._by_name.setdefault(_parts(row["image"])[-1], []).append(row)

    def about(self) -> dict[str, Any]:
        """Return the kind of detector and the hash of the predictions file."""
        return {"detector": "predictions", "sha256": self._sha256}

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Return the folder's prediction for each image, or its error."""
        return each(self._read, images)

    def _read(self, image: Path) -> Prediction:
        row = self._find(image)
        if row.get("error"):
            raise DetectorError(f"{self.name} failed on {image}: {row['error']}")
        if row["image"] == str(image.absolute()) and was_replaced(row, image):
            raise DetectorError(
                f"{image} has been replaced since {self.name} inspected it; inspect it again."
            )
        anomaly_map = None
        if row.get("anomaly_map"):
            if not isinstance(row["anomaly_map"], str):
                raise DetectorError(f"anomaly_map of {image} must be the name of a file.")
            anomaly_map = _read_map(self.folder / row["anomaly_map"])
            _check_map(anomaly_map, image, row["anomaly_map"])
        explanation = row.get("explanation")
        return Prediction(
            pred_score=_as_score(row.get("pred_score"), image),
            pred_label=_as_flag(row.get("pred_label"), "pred_label", image),
            anomaly_map=anomaly_map,
            explanation=None if explanation in (None, "") else str(explanation),
            contradiction=_as_flag(row.get("contradiction"), "contradiction", image),
        )

    def _find(self, image: Path) -> Row:
        """Return an image's row: the one with its absolute path, else the longest common ending."""
        path = _parts(str(image.absolute()))
        candidates = self._by_name.get(path[-1], [])
        fits = [_fit(path, _parts(row["image"])) for row in candidates]
        best = max(fits, default=None)
        rows = [row for row, fit in zip(candidates, fits, strict=True) if fit == best]
        if not rows:
            raise DetectorError(f"{self.folder} holds no prediction for {image}.")
        if len(rows) > 1:
            named = ", ".join(row["image"] for row in rows[:3])
            raise DetectorError(
                f"{self.folder} holds {len(rows)} predictions that fit {image} ({named}); write "
                "each image once, with more of its path."
            )
        return rows[0]


def _parse(text: str, file: Path) -> list[Row]:
    if file.suffix == ".csv":
        rows: list[Row] = list(csv.DictReader(text.splitlines(keepends=True)))
    else:
        rows = []
        lines = text.split("\n")
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip():
                    rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                # A killed process leaves a partial last line.
                if number < len(lines):
                    raise DetectorError(f"{file}, line {number} is not JSON: {error}") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not row["image"]:
            raise DetectorError(f"{file}, row {number} names no image; add 'image'.")
    if not rows:
        raise DetectorError(f"{file} is empty.")
    return rows


def _parts(path: str) -> list[str]:
    """Split a path of any operating system, without its root."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] or [path]


def _fit(path: list[str], other: list[str]) -> tuple[int, bool]:
    """Return how many last parts two paths share, and whether they are the same."""
    pairs = zip(reversed(path), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), path == other


def _as_score(value: Any, image: Path) -> float | None:
    if value is None or value == "":
        return None
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise DetectorError(f"pred_score of {image} is {value!r}; give a finite number.")
    return score


def _as_flag(value: Any, field: str, image: Path) -> bool | None:
    if value is None or value == "":
        return None
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise DetectorError(f"{field} of {image} is {value!r}; give true or false.")
    return text in _TRUE


def _read_map(path: Path) -> FloatArray:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                names = list(arrays)
                name = names[0] if len(names) == 1 else "anomaly_map"
                return np.asarray(arrays[name], dtype=np.float32)
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
        with Image.open(path) as file:
            values = np.asarray(file)
            full = {"L": 255, "F": 1}.get(file.mode, 65535 if file.mode[0] == "I" else 0)
        if not full:
            raise DetectorError(f"The map {path} is not a grey image; write it in one channel.")
        return values.astype(np.float32) / np.float32(full)
    except FlawsightError:
        raise
    except Exception as error:  # a damaged file makes NumPy and Pillow raise nearly anything
        raise DetectorError(f"Cannot read the map {path}: {error}") from error


def _check_map(anomaly_map: FloatArray, image: Path, name: str) -> None:
    height, width = upright_size(image)
    if anomaly_map.shape != (height, width):
        raise DetectorError(
            f"The map {name} has shape {anomaly_map.shape}, its image {image} is {width}×{height} "
            f"upright: resize the map to ({height}, {width})."
        )
    if not np.isfinite(anomaly_map).all():
        raise DetectorError(f"The map {name} holds NaN or infinity.")
