"""The rows of a run in Parquet files, on a disk or in a bucket, through pyarrow.

rows/*.parquet    `row`, the JSON object of inspections.jsonl, and its main fields
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from ..errors import MissingExtraError, RunFolderError, SettingsError
from .row_check import DAMAGED, parse_row

ROWS = "rows"
# The fields that can be queried without parsing the rows, in Arrow's types.
_FIELDS = {
    "image": "string",
    "pred_label": "bool",
    "pred_score": "double",
    "answer": "string",
    "explanation": "string",
    "contradiction": "bool",
    "error": "string",
    "row": "string",
}


class StorageFolder:
    """A folder on a disk or in a bucket.

    Args:
        uri: path, or URI of a file system that pyarrow knows, like s3://line3/run.

    Raises:
        FlawsightError: as `open_filesystem`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.filesystem, self._root = open_filesystem(uri)

    def join(self, name: str) -> str:
        """Return the path of a file, for `filesystem`."""
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if there is none.

        Raises:
            RunFolderError: if it cannot be read.
        """
        from pyarrow.fs import FileType

        with _as_run_folder_error(f"Cannot read {self.uri}"):
            if self.filesystem.get_file_info(self.join(name)).type == FileType.NotFound:
                return None
            with self.filesystem.open_input_stream(self.join(name)) as stream:
                content: bytes = stream.read()
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file and the folders above it.

        Raises:
            RunFolderError: if it cannot be written.
        """
        with _as_run_folder_error(f"Cannot write to {self.uri}"):
            self.filesystem.create_dir(str(PurePath(self.join(name)).parent), recursive=True)
            with self.filesystem.open_output_stream(self.join(name)) as stream:
                stream.write(content)

    def files(self, name: str | None = None) -> list[str]:
        """Return the paths of all files below a folder of it, or below all of it, sorted."""
        return sorted(self.states(name))

    def states(self, name: str | None = None) -> dict[str, tuple[int, int | None]]:
        """Return the size of each of these files, and its last write in ns since 1970."""
        from pyarrow.fs import FileSelector, FileType

        base = self._root if name is None else self.join(name)
        selector = FileSelector(base, allow_not_found=True, recursive=True)
        found = self.filesystem.get_file_info(selector)
        files = [info for info in found if info.type == FileType.File]
        return {info.path: (info.size, info.mtime_ns) for info in files}


def read_parquet_rows(folder: StorageFolder, repair: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one row per image: its result, or else its error.

    Args:
        folder: of the run.
        repair: delete the files that a killed process left torn; they are passed over otherwise.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    failed: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for path in [path for path in folder.files(ROWS) if path.endswith(".parquet")]:
        try:
            rows = parquet.read_table(path, filesystem=folder.filesystem, columns=["row"])
        except pyarrow.ArrowInvalid:
            if repair:
                folder.filesystem.delete_file(path)
            continue
        for number, line in enumerate(rows["row"].to_pylist(), start=1):
            row = parse_row(line or "")
            if row is None:
                damaged = f"{PurePath(path).name}, row {number}"
                failed[damaged] = {"image": damaged, "error": f"{DAMAGED}."}
            elif "error" in row:
                failed[row["image"]] = row
            elif row["image"] not in seen:
                seen.add(row["image"])
                yield row
    yield from (row for image, row in failed.items() if image not in seen)


def drop_rows(folder: StorageFolder, images: set[str]) -> None:
    """Remove the rows of images; every file is replaced by its other rows."""
    import pyarrow.parquet as parquet

    for path in [path for path in folder.files(ROWS) if path.endswith(".parquet")]:
        table = parquet.read_table(path, filesystem=folder.filesystem)
        rows = [parse_row(line or "") for line in table["row"].to_pylist()]
        kept = [row is None or row["image"] not in images for row in rows]
        if not all(kept):
            parquet.write_table(table.filter(kept), path, filesystem=folder.filesystem)


def rows_table(rows: Sequence[dict[str, Any]]) -> Any:
    """Return rows as an Arrow table of `row` and its main fields; a missing field is null."""
    import pyarrow

    schema = pyarrow.schema(
        [(name, pyarrow.type_for_alias(kind)) for name, kind in _FIELDS.items()]
    )
    whole = [_as_text(row) | {"row": json.dumps(row)} for row in rows]
    return pyarrow.Table.from_pylist(whole, schema)


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    """Escape what is no text in the fields of a row: a file's name may be of any bytes."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }


def open_filesystem(uri: str) -> tuple[Any, str]:
    """Return the file system of a path or URI, and the path in it.

    Raises:
        MissingExtraError: without pyarrow.
        SettingsError: if pyarrow does not know the file system.
    """
    try:
        from pyarrow.fs import FileSystem, LocalFileSystem
    except ImportError as error:
        raise MissingExtraError("pyarrow", "ray") from error
    if "://" not in uri:
        return LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    try:
        return FileSystem.from_uri(uri)  # type: ignore[no-any-return]
    except ValueError as error:
        raise SettingsError(f"{uri} is of no storage that pyarrow knows: {error}") from error


@contextmanager
def _as_run_folder_error(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"{what}: {error}") from error
