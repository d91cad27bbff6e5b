"""A name, NAME=PATH, folder or list → labelled data sets."""

import os
from pathlib import Path

from ..errors import DatasetError
from .catalog import BENCHMARKS, Benchmark, find_benchmark
from .dataset import Dataset
from .layouts import (
    Reader,
    read_good_bad,
    read_kolektor,
    read_mvtec,
    read_visa,
    read_vision,
    sort_samples,
)
from .lists import read_csv, read_jsonl, read_meta
from .reviewed_tasks import read_tasks
from .unused import check_sharing, unused_files, with_labels

# The most specific layout first.
_READERS: tuple[Reader, ...] = (read_visa, read_kolektor, read_vision, read_mvtec, read_good_bad)
# Lists that describe the folder they are in.
_OWN_LIST, _META = "samples.jsonl", "meta.json"


def _read_json(path: Path, name: str) -> list[Dataset]:
    """Read tasks of Label Studio, which are a list, or a meta.json, which is none."""
    try:
        is_list = path.name != _META and path.read_bytes().lstrip()[:1] == b"["
    except OSError as error:
        raise DatasetError(f"Cannot read {path}: {error}") from error
    return (read_tasks if is_list else read_meta)(path, name)


_LISTS = {".json": _read_json, ".csv": read_csv, ".jsonl": read_jsonl}


def open_datasets(spec: str, data_root: Path | None = None) -> list[Dataset]:
    """Open the data sets of a specification.

    Args:
        spec: a known name like "MVTec-AD", NAME=PATH, or the path of a folder, a meta.json, tasks
            of Label Studio, a .csv or a .jsonl.
        data_root: folder of the known data sets; None for the environment variable FLAWSIGHT_DATA.

    Returns:
        One data set, or several if a list has a column "dataset".

    Raises:
        DatasetError: if there is nothing at the path, or its layout is unknown.
    """
    if Path(spec).expanduser().exists() and not find_benchmark(spec):
        return _open_path(Path(spec).expanduser(), None)
    name, equals, path = spec.partition("=")
    if equals:
        if not name or not path:
            raise DatasetError(f"{spec!r} should be NAME=PATH, like bolts=/data/bolts.")
        return _open_path(Path(path).expanduser(), name)
    if benchmark := find_benchmark(spec):
        return _open_path(_find_folder(benchmark, data_root), benchmark.name)
    known = ", ".join(b.name for b in BENCHMARKS)
    raise DatasetError(
        f"There is no data set {spec!r}: give a path that exists, NAME=PATH, or one of {known}."
    )


def _find_folder(benchmark: Benchmark, data_root: Path | None) -> Path:
    if data_root is None and (variable := os.environ.get("FLAWSIGHT_DATA")):
        data_root = Path(variable).expanduser()
    if data_root is None:
        raise DatasetError(
            f"The folder of {benchmark.name} is unknown. Give {benchmark.name}=PATH, or the folder "
            f"above it as data root or in FLAWSIGHT_DATA. Download it from {benchmark.source}."
        )
    if not data_root.is_dir():
        raise DatasetError(f"The data root {data_root} is not a folder.")
    wanted = {name.lower() for name in benchmark.folders}
    hits = sorted(p for p in data_root.iterdir() if p.name.lower() in wanted and p.is_dir())
    if not hits:
        raise DatasetError(
            f"{data_root} has no folder {' or '.join(benchmark.folders)} for {benchmark.name}; it "
            f"has {_listing(data_root)}. Download the set from {benchmark.source}."
        )
    if len(hits) > 1:
        raise DatasetError(
            f"{benchmark.name} could be {' or '.join(map(str, hits))}; give {benchmark.name}=PATH."
        )
    return hits[0]


def _open_path(path: Path, name: str | None) -> list[Dataset]:
    path = Path(os.path.abspath(path))  # unlike resolve, keeps the names of links
    benchmark = find_benchmark(name) if name else None
    name = benchmark.name if benchmark else name
    if path.is_file():
        reader = _LISTS.get(path.suffix.lower())
        if reader is None:
            raise DatasetError(
                f"{path} is no list of images: give a meta.json, .csv, .jsonl, or tasks of Label "
                "Studio."
            )
        return reader(path, name or (path.parent.name if path.stem == "meta" else path.stem))
    if not path.is_dir():
        raise DatasetError(f"There is nothing at {path}.")
    # Preferred to the folders' names: it also has reference texts.
    if (path / _OWN_LIST).is_file():
        return read_jsonl(path / _OWN_LIST, name or path.name)
    for read in (benchmark.reader,) if benchmark else _READERS:
        if samples := read(path):
            check_sharing(samples)
            unused = unused_files(path, samples)
            return [with_labels(Dataset(name or path.name, path, sort_samples(samples), unused))]
    if (path / _META).is_file():
        return read_meta(path / _META, name or path.name)
    expected = (
        benchmark.layout
        if benchmark
        else "[CATEGORY/]{train,test}/CLASS/* with masks in [CATEGORY/]ground_truth/CLASS/, or "
        "good/ and bad/, or a meta.json, or a published layout (`flawsight data list`)"
    )
    raise DatasetError(
        f"{path} has an unknown layout. Expected: {expected}. Found: {_listing(path)}."
    )


def _listing(folder: Path) -> str:
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "nothing"
