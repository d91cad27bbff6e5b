"""Inspecting on a Ray cluster: Ray Data streams images through actors that hold the model.

Ray Data reads, limits what is in memory, restarts what dies, and writes. This file has the actor,
which also works in a pipeline of your own, and the pipeline of `flawsight inspect --engine ray`.
Its run folder may be on a disk or in a bucket:

    run.json                as in folder.py
    rows/*.parquet          see parquet.py
    maps/, …, reference/    as in folder.py
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from ..errors import FlawsightError, ImageError, MissingExtraError, SettingsError
from ..inspection import Inspection
from ..inspector import Inspector
from ..io.file_stamp import stamp_of_bytes, was_replaced
from ..io.files import slug, writing_to
from ..io.find_images import find_images
from ..io.images import SUFFIXES, Photo, open_image, prepare_photo
from .describe import about_run, check_same, describe
from .folder import encode_array
from .good_photos import write_pictures
from .parquet import ROWS, StorageFolder, drop_rows, open_filesystem, read_parquet_rows, rows_table
from .read import ARRAY_FOLDERS, Row, arrays_of
from .run_lock import lock_run

# Most images that are handed to an actor, and written, together. A killed run repeats a few blocks.
_BLOCK = 256
_BLOCKS_PER_ACTOR = 4  # at least: none is idle while another has much left


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
        out: folder or URI (s3://, gs://) for run.json and the maps, all of one model with one
            choice of settings; None writes neither.
        **options: all others of `Inspector.from_pretrained`, as `settings`, `calibration` and
            `reference`; as a file, that must be on every node.

    Raises:
        FlawsightError: if the model cannot be loaded, or `out` holds another run.
    """

    def __init__(self, model: str | None = None, out: str | None = None, **options: Any) -> None:
        self.inspector = Inspector.from_pretrained(model, **options)
        self._out = None if out is None else StorageFolder(out)
        if self._out is not None:
            _open_run(self._out, about_run(describe(self.inspector)))
            if self.inspector.reference is not None:
                write_pictures(self._out.write, self.inspector.reference)

    def __call__(self, batch: dict[str, Any]) -> Any:
        """Inspect a batch in NumPy's form, and return an Arrow table.

        Args:
            batch: "path", the images' names, and either "bytes", their files, or "image", their
                pixels. If bytes are empty, "error" says why the image could not be read.
                "modified_ns" is the time of the files' last write, negative if unknown.

        Returns:
            "row", the JSON object of `inspections.jsonl`, and its fields "image" (the name),
            "pred_label", "pred_score", "answer", "explanation", "contradiction" and "error", null
            if missing.

        Raises:
            ModelError: if the model is at fault.
        """
        names = [str(name) for name in batch["path"]]
        depth = self.inspector.settings.bit_depth
        opened = [_open(batch, index, name, depth) for index, name in enumerate(names)]
        sound = [image for image in opened if not isinstance(image, FlawsightError)]
        outcomes = iter(self.inspector.inspect_batch(sound) if sound else [])
        rows = [
            self._row(name, image if isinstance(image, FlawsightError) else next(outcomes))
            | _stamped(batch, index)
            for index, (name, image) in enumerate(zip(names, opened, strict=True))
        ]
        return rows_table(rows)

    def _row(self, name: str, outcome: Inspection | FlawsightError) -> Row:
        if isinstance(outcome, FlawsightError):
            return {"image": name, "error": f"{type(outcome).__name__}: {outcome}"}
        row = replace(outcome, image=name).to_json()
        if self._out is not None:
            for array, values in arrays_of(outcome).items():
                row[array] = f"{ARRAY_FOLDERS[array]}/{slug(name)}.npz"
                self._out.write(row[array], encode_array(array, values))
        return row


def inspect_on_ray(
    sources: Sequence[str],
    out: str,
    options: dict[str, Any],
    *,
    address: str | None = None,
    actors: int | None = None,
) -> Iterator[Row]:
    """Inspect the images that a run lacks, on a cluster, and return the rows of the whole run.

    Args:
        sources: local images as `find_images` takes them, on a disk that all nodes see; buckets
            like s3://line3/today; or Parquet files or folders (….parquet) with the column "path"
            and optionally "bytes".
        out: folder or URI of the run.
        options: of `ImageInspector`.
        address: of the cluster, like "auto" or "ray://head:10001"; None starts one on this machine.
        actors: number of copies of the model; None is one per GPU, or one per two CPUs.

    Raises:
        FlawsightError: of the actors, or if a source or the run cannot be used.
        MissingExtraError: without ray.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    folder = StorageFolder(out)
    lock = None if "://" in out else _locked(Path(folder.join("")))
    done = {
        row["image"]: row for row in read_parquet_rows(folder, repair=True) if "error" not in row
    }
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if actors is None:
        actors = gpus or max(1, int(ray.cluster_resources().get("CPU", 1)) // 2)
    with _explained(ray):
        for images in _datasets(ray, folder, sources, done, actors):
            images.map_batches(
                ImageInspector,
                fn_constructor_kwargs={"out": out} | options,
                batch_size=options["batch_size"],
                batch_format="numpy",
                num_cpus=1,
                num_gpus=1 if gpus else 0,
                compute=ray.data.ActorPoolStrategy(size=actors),
            ).write_parquet(folder.join(ROWS), filesystem=folder.filesystem)
    del lock
    return read_parquet_rows(folder)


def _locked(folder: Path) -> Any:
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return lock_run(folder)


def _datasets(
    ray: Any, folder: StorageFolder, sources: Sequence[str], done: dict[str, Row], actors: int
) -> Iterator[Any]:
    """Yield data sets with "path" and "bytes" of the images that are not done.

    The rows of files that have been replaced are dropped; in a table, a path is done for good.
    """
    tables = [source for source in sources if source.rstrip("/").endswith(".parquet")]
    buckets = [source for source in sources if "://" in source and source not in tables]
    local = [source for source in sources if source not in tables and source not in buckets]
    states = {str(path): _state(path) for path in find_images(local)} if local else {}
    for bucket in buckets:
        states |= _find_bucket_images(bucket)
    replaced = {path for path in states if path in done and _is_other(done[path], states[path])}
    if replaced:
        drop_rows(folder, replaced)
    missing = [path for path in states if path not in done or path in replaced]
    if missing:
        items = [{"path": path, "modified_ns": _time(states[path])} for path in missing]
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


def _find_bucket_images(uri: str) -> dict[str, tuple[int, int | None]]:
    scheme = uri.partition("://")[0]
    states = StorageFolder(uri).states()
    found = [path for path in sorted(states) if PurePath(path).suffix.lower() in SUFFIXES]
    if not found:
        raise ImageError(f"{uri} holds no image ({', '.join(sorted(SUFFIXES))}).")
    return {f"{scheme}://{path}": states[path] for path in found}


def _state(path: Path) -> tuple[int, int | None]:
    """Return the size of a file and the time of its last write; fetching says if there is none."""
    with suppress(OSError):
        state = path.stat()
        return state.st_size, state.st_mtime_ns
    return 0, None


def _time(state: tuple[int, int | None]) -> int:
    return -1 if state[1] is None else state[1]


def _is_other(row: Row, state: tuple[int, int | None]) -> bool:
    """Whether the row is of another file than the one of its name today."""
    if "file" not in row:
        return False
    if "://" not in row["image"]:
        return was_replaced(row, row["image"])
    size, modified_ns = state
    return (row["file"]["bytes"], row["file"].get("modified_ns")) != (size, modified_ns)


def _stamped(batch: dict[str, Any], index: int) -> Row:
    """Return the field "file" of a row, if the batch has the file."""
    if "bytes" not in batch or not batch["bytes"][index]:
        return {}
    known = "modified_ns" in batch and int(batch["modified_ns"][index]) >= 0
    modified_ns = int(batch["modified_ns"][index]) if known else None
    return {"file": stamp_of_bytes(batch["bytes"][index], modified_ns).to_json()}


def _fetched(paths: Any, size: int) -> Any:
    # If it asked for as many CPUs as the actors, Ray would fuse it with them, and they would wait.
    return paths.map_batches(fetch, batch_size=size, batch_format="numpy", num_cpus=0.5)


def fetch(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Read the files that "path" names, from disks and buckets, one at a time."""
    times = batch.get("modified_ns", [-1] * len(batch["path"]))
    for path, modified_ns in zip(batch["path"], times, strict=True):
        content, error = b"", ""
        try:
            filesystem, inner = open_filesystem(str(path))
            with filesystem.open_input_stream(inner) as stream:
                content = stream.read()
        except Exception as problem:  # each storage has errors of its own
            error = f"Cannot read {path}: {problem}"
        yield {
            "path": [path], "bytes": [content], "error": [error], "modified_ns": [modified_ns],
        }  # fmt: skip


def _open_run(folder: StorageFolder, about: dict[str, Any]) -> None:
    """Write run.json, or compare it with the one that is there."""
    old = folder.read("run.json")
    if old is None:
        folder.write("run.json", (json.dumps(about, indent=2) + "\n").encode())
    else:
        check_same(Path(folder.uri), json.loads(old), about)


def _open(
    batch: dict[str, Any], index: int, name: str, bit_depth: int | None
) -> Photo | FlawsightError:
    """Return an image of a batch, or why it cannot be read."""
    try:
        if "image" in batch:
            return prepare_photo(batch["image"][index], name, bit_depth)
        if content := batch["bytes"][index]:
            return prepare_photo(open_image(content), name, bit_depth)
    except FlawsightError as error:
        return error
    reason = str(batch["error"][index]) if "error" in batch else ""
    return ImageError(reason or f"{name} is empty.")


@contextmanager
def _explained(ray: Any) -> Iterator[None]:
    """Raise the FlawsightError of an actor; Ray wraps it in its own error or text."""
    try:
        yield
    except ray.exceptions.RayError as error:
        kinds: dict[str, Callable[[str], FlawsightError]] = {
            kind.__name__: kind for kind in FlawsightError.__subclasses__()
        }
        for line in reversed(str(error).splitlines()):
            name, _, message = line.strip().rpartition("flawsight.errors.")[2].partition(": ")
            if name in kinds and message:
                raise kinds[name](message) from error
        raise
