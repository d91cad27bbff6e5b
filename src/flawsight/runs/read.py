"""The only reader of run folders: rows, maps, token maps and truth."""

import json
from pathlib import Path
from typing import Any

from ..errors import RunFolderError

ARRAY_FOLDERS = {"anomaly_map": "maps", "token_maps": "token_maps"}
Row = dict[str, Any]
_RENAMED = {"tokens": {"kept": "selected"}, "regions": {"words": "phrases"}}


def read_description(folder: Path) -> dict[str, Any]:
    """Return run.json.

    Raises:
        RunFolderError: if there is none, or it is damaged.
    """
    try:
        description: dict[str, Any] = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{folder} holds no readable run.json: {error}") from error
    return description


def read_rows(folder: Path) -> list[Row]:
    """Return the rows in order. A torn last line, left by a killed process, is passed over."""
    rows: list[Row] = []
    if (folder / "rows").is_dir():
        from .cluster import read_parquet_rows

        rows += read_parquet_rows(folder)
    for path in [folder / "inspections.jsonl", *rank_files(folder)]:
        if not path.exists():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                if number < len(lines):
                    raise RunFolderError(f"{path}, line {number} is damaged: {error}") from error
    return [upgraded_row(row) for row in rows]


def upgraded_row(row: Row) -> Row:
    """Return a row under today's names; version 0.1 wrote tokens "kept" and regions' "words"."""
    return row | {
        name: [{names.get(key, key): value for key, value in one.items()} for one in row[name]]
        for name, names in _RENAMED.items()
        if row.get(name)
    }


def rank_files(folder: Path) -> list[Path]:
    """Return the row files of processes that share a run, of those after the first."""
    return sorted(folder.glob("inspections.rank-*.jsonl"))
