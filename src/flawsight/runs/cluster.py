"""Inspecting on a Ray cluster: images flow through Ray Data past actors that hold the model.

Ray Data reads, keeps as much under way as fits into memory, restarts what dies, and writes. What is
here is the actor, which also works in a pipeline of one's own, and the pipeline of
`flawsight inspect --engine ray`, whose run folder may lie on a disk or in a bucket:

    run.json                as everywhere
    rows/*.parquet          `row`, the JSON object of inspections.jsonl, and its main fields
    maps/, token_maps/      as everywhere
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from ..errors import FlawsightError, ImageError, MissingExtraError, RunFolderError, SettingsError
from ..inspection import Inspection
from ..inspector import Inspector
from ..io.files import slug
from ..io.images import SUFFIXES, find_images, open_image, prepare_image
from .describe import about_run, check_same, describe
from .folder import encode_array
from .read import ARRAY_FOLDERS, Row

# Images of a block of paths: what a killed run has to do again is a few of these.
_BLOCK = 256  # images at most that are handed to an actor, and written, together
_BLOCKS_PER_ACTOR = 4  # at least, so that none is idle while another has much left
# What may be asked of the rows without parsing them, in Arrow's types.
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


class ImageInspector:
    """Inspects batches of rows, as an actor of Ray Data.

    >>> images = ray.data.read_binary_files("s3://line3/today", include_paths=True)
    >>> rows = images.map_batches(
    ...     ImageInspector,
    ...     fn_constructor_kwargs={"model": "Qwen/Qwen2.5-VL-7B-Instruct", "out": "s3://line3/run"},
    ...     batch_size=8, num_gpus=1, compute=ray.data.ActorPoolStrategy(size=16),
    ... )

    Args:
        model: see `Inspector.from_pretrained`.
        out: folder or URI (s3://, gs://) for run.json and the maps, which then must be of one model
            and its settings; None keeps no maps.
        **options: `settings`, `batch_size`, `threshold`, `generator`, `adapter`, `device`, `dtype`,
            `attention` of `Inspector.from_pretrained`.

    Raises:
        FlawsightError: if the model cannot be loaded, or `out` holds another run.
    """

    def __init__(self, model: str | None = None, out: str | None = None, **options: Any) -> None:
        self.inspector = Inspector.from_pretrained(model, **options)
        self._out = None if out is None else _Place(out)
        if self._out is not None:
            self._out.open_run(about_run(describe(self.inspector)))

    def __call__(self, batch: dict[str, Any]) -> Any:
        """Inspect a batch in NumPy's form, and return an Arrow table.

        Args:
            batch: "path", the images' names, and "bytes", their files, or "image", their pixels.
                An "error" beside bytes that are empty says why an image could not be read.

        Returns:
            "row", the JSON object of `inspections.jsonl`, and by themselves "image" (the name),
            "pred_label", "pred_score", "answer", "explanation", "contradiction" and "error"; None
            where there is none.

        Raises:
            ModelError: if the model is at fault.
        """
        names = [str(name) for name in batch["path"]]
        opened: list[Any] = []
        for index, name in enumerate(names):
            try:
                opened.append(_open(batch, index, name))
            except FlawsightError as error:
                opened.append(error)
        sound = [image for image in opened if not isinstance(image, FlawsightError)]
        outcomes = iter(self.inspector.inspect_batch(sound) if sound else [])
        rows = [
            self._row(name, image if isinstance(image, FlawsightError) else next(outcomes))
            for name, image in zip(names, opened, strict=True)
        ]
        import pyarrow

        schema = pyarrow.schema(
            [(name, pyarrow.type_for_alias(kind)) for name, kind in _FIELDS.items()]
        )
        fields = [row | {"row": json.dumps(row)} for row in rows]
        return pyarrow.Table.from_pylist(fields, schema)

    def _row(self, name: str, outcome: Inspection | FlawsightError) -> Row:
        if isinstance(outcome, FlawsightError):
            return {"image": name, "error": f"{type(outcome).__name__}: {outcome}"}
        row = replace(outcome, image=name).to_json()
        if self._out is not None:
            for array, folder in ARRAY_FOLDERS.items():
                row[array] = f"{folder}/{slug(name)}.npz"
                self._out.write(row[array], encode_array(array, getattr(outcome, array)))
        return row


def inspect_on_ray(
    sources: Sequence[str],
    out: str,
    options: dict[str, Any],
    *,
    address: str | None = None,
    actors: int | None = None,
) -> Iterator[Row]:
    """Inspect what a run does not hold yet, on a cluster, and return the rows of the whole run.

    Args:
        sources: local images as `find_images` takes them, on a disk that all nodes see; buckets
            like s3://line3/today; or Parquet files or folders (….parquet) with the column "path"
            and maybe "bytes".
        out: folder or URI of the run.
        options: of `ImageInspector`.
        address: of the cluster, like "auto" or "ray://head:10001"; None starts one on this machine.
        actors: how many hold the model; None is one for each GPU, or for each second CPU.

    Raises:
        FlawsightError: of the actors, or if a source or the run cannot be used.
        MissingExtraError: without ray.
    """
    ray = _ray()
    place = _Place(out)
    done = {row["image"] for row in place.read_rows(repair=True) if "error" not in row}
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if actors is None:
        actors = gpus or max(1, int(ray.cluster_resources().get("CPU", 1)) // 2)
    with _explained(ray):
        for images in _datasets(ray, sources, done, actors):
            images.map_batches(
                ImageInspector,
                fn_constructor_kwargs={"out": out} | options,
                batch_size=options["batch_size"],
                batch_format="numpy",
                num_cpus=1,
                num_gpus=1 if gpus else 0,
                compute=ray.data.ActorPoolStrategy(size=actors),
            ).write_parquet(place.join("rows"), filesystem=place.filesystem)
    return place.read_rows()


def read_parquet_rows(folder: Path) -> list[Row]:
    """Return the rows that a cluster left in a run folder; an image that failed once counts once.

    Raises:
        MissingExtraError: without pyarrow.
    """
    return list(_Place(str(folder)).read_rows())


def _datasets(ray: Any, sources: Sequence[str], done: set[str], actors: int) -> Iterator[Any]:
    """Yield data sets of "path" and "bytes", of the images that are not done."""
    tables = [source for source in sources if source.rstrip("/").endswith(".parquet")]
    buckets = [source for source in sources if "://" in source and source not in tables]
    local = [source for source in sources if source not in tables and source not in buckets]
    paths = [str(path) for path in find_images(local)] if local else []
    for bucket in buckets:
        paths += _Place(bucket).images()
    paths = [path for path in paths if path not in done]
    if paths:
        items = [{"path": path} for path in paths]
        size = min(_BLOCK, -(-len(items) // (_BLOCKS_PER_ACTOR * actors)))
        blocks = -(-len(items) // size)
        yield _fetched(ray.data.from_items(items, override_num_blocks=blocks), size)
    for table in tables:
        rows = ray.data.read_parquet(table)
        columns = rows.schema().names
        if "path" not in columns:
            raise SettingsError(f'{table} has no column "path"; its columns are {columns}.')
        rows = rows.filter(lambda row: row["path"] not in done) if done else rows
        if "bytes" not in columns:
            rows = _fetched(rows, _BLOCK)
        yield rows


def _fetched(paths: Any, size: int) -> Any:
    # Another share of a processor than the actors': else Ray would read inside them, by turns.
    return paths.map_batches(fetch, batch_size=size, batch_format="numpy", num_cpus=0.5)


def fetch(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Read the files that "path" names, from disks and buckets, an image at a time."""
    for path in batch["path"]:
        content, error = b"", ""
        try:
            filesystem, inner = _filesystem(str(path))
            with filesystem.open_input_stream(inner) as stream:
                content = stream.read()
        except Exception as problem:  # each storage has errors of its own
            error = f"Cannot read {path}: {problem}"
        yield {"path": [path], "bytes": [content], "error": [error]}


def _open(batch: dict[str, Any], index: int, name: str) -> Any:
    if "image" in batch:
        return prepare_image(batch["image"][index], name)
    content = batch["bytes"][index]
    if not content:
        said = str(batch["error"][index]) if "error" in batch else ""
        raise ImageError(said or f"{name} is empty.")
    return prepare_image(open_image(content), name)


class _Place:
    """A folder on a disk or in a bucket."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.filesystem, self._root = _filesystem(uri)

    def join(self, name: str) -> str:
        return f"{self._root}/{name}"

    def write(self, name: str, content: bytes) -> None:
        with _as_run_folder_error(self.uri):
            self.filesystem.create_dir(str(PurePath(self.join(name)).parent), recursive=True)
            with self.filesystem.open_output_stream(self.join(name)) as stream:
                stream.write(content)

    def open_run(self, about: dict[str, Any]) -> None:
        """Write run.json, or compare it with the one that is there."""
        with _as_run_folder_error(self.uri):
            if "run.json" in [PurePath(path).name for path in self._files(recursive=False)]:
                with self.filesystem.open_input_stream(self.join("run.json")) as stream:
                    check_same(Path(self.uri), json.loads(stream.read()), about)
                return
        self.write("run.json", (json.dumps(about, indent=2) + "\n").encode())

    def read_rows(self, repair: bool = False) -> Iterator[Row]:
        """Yield a row an image, its success if it has one.

        Args:
            repair: delete files that a killed write left torn, in place of passing them over.
        """
        import pyarrow
        import pyarrow.parquet as parquet

        failed: dict[str, Row] = {}
        seen: set[str] = set()
        for path in sorted(p for p in self._files("rows") if p.endswith(".parquet")):
            try:
                rows = parquet.read_table(path, filesystem=self.filesystem, columns=["row"])
            except pyarrow.ArrowInvalid:
                if repair:
                    self.filesystem.delete_file(path)
                continue
            for row in map(json.loads, rows["row"].to_pylist()):
                if "error" in row:
                    failed[row["image"]] = row
                elif row["image"] not in seen:
                    seen.add(row["image"])
                    yield row
        yield from (row for image, row in failed.items() if image not in seen)

    def images(self) -> list[str]:
        scheme = self.uri.partition("://")[0]
        found = [p for p in self._files() if PurePath(p).suffix.lower() in SUFFIXES]
        if not found:
            raise ImageError(f"{self.uri} holds no image ({', '.join(sorted(SUFFIXES))}).")
        return [f"{scheme}://{path}" for path in sorted(found)]

    def _files(self, name: str | None = None, recursive: bool = True) -> list[str]:
        from pyarrow.fs import FileSelector, FileType

        base = self._root if name is None else self.join(name)
        selector = FileSelector(base, allow_not_found=True, recursive=recursive)
        found = self.filesystem.get_file_info(selector)
        return [info.path for info in found if info.type == FileType.File]


def _filesystem(uri: str) -> tuple[Any, str]:
    """Return the file system of a path or URI, and the path in it."""
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


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    return ray


@contextmanager
def _as_run_folder_error(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"Cannot write to {uri}: {error}") from error


@contextmanager
def _explained(ray: Any) -> Iterator[None]:
    """Raise what an actor raised of our own errors; Ray wraps them in its own, or in their text."""
    try:
        yield
    except ray.exceptions.RayError as error:
        kinds: dict[str, Callable[[str], FlawsightError]] = {
            kind.__name__: kind for kind in FlawsightError.__subclasses__()
        }
        for line in reversed(str(error).splitlines()):
            name, _, said = line.strip().rpartition("flawsight.errors.")[2].partition(": ")
            if name in kinds and said:
                raise kinds[name](said) from error
        raise
