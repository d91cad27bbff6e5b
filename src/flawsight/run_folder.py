"""The run folder: where inspections go, row by row, and from where everything later reads them.

    run.json            model and its hash, settings, versions
    inspections.jsonl   one object an image, appended
    maps/*.npz          one (H, W) float16 array in [0, 1] an image, called anomaly_map
    token_maps/*.npz    one (R, grid_h, grid_w) float16 array an image, called token_maps
    overlays/*.png      the map over the photo, on one fixed colour scale
    photos/*.jpg        the photo, small, so that the report needs the original no more
    report.html         all of it to look at, with report/ beside it where there are many images

Files are written whole or not at all, and a row only after its files: whatever stops the program
costs no finished image, and the same command goes on where it stopped.
"""

import hashlib
import io
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .errors import FlawsightError, RunFolderError
from .inspection import FloatArray, Inspection
from .inspector import Inspector, Opened, Traced
from .pipeline import overlapped
from .report.overlay import MAX_SIDE, draw_overlay, encode_jpeg
from .settings import Settings

FORMAT = 1
ARRAY_FOLDERS = {"anomaly_map": "maps", "token_maps": "token_maps"}
# What may differ between two parts of one run.
_FREE = {"created", "versions", "model.name", "model.device", "model.attention", "generator.url"}
Row = dict[str, Any]


class RunFolder:
    """A run on disk, new or resumed.

    Args:
        folder: made if it does not exist.
        about: what all rows of the run share, as JSON types; see `describe`.
        rank: of the process, where several share a run. The first opens it before the others,
            which write rows into files of their own until `merge`.

    Raises:
        RunFolderError: if the folder holds a run of another model or other settings, or something
            else, or cannot be written.
    """

    def __init__(self, folder: Path, about: dict[str, Any], rank: int = 0) -> None:
        self.folder = folder
        self._rows = folder / (f"inspections.rank-{rank}.jsonl" if rank else "inspections.jsonl")
        about = about_run(about)
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            description = folder / "run.json"
            if description.exists():
                check_same(folder, read_description(folder), about)
            elif any(folder.iterdir()):
                raise RunFolderError(f"{folder} holds files but no run; choose another --out.")
            else:
                write_atomically(description, (json.dumps(about, indent=2) + "\n").encode())
            for name in (*ARRAY_FOLDERS.values(), "overlays", "photos"):
                (folder / name).mkdir(exist_ok=True)
        if rank == 0:
            # A torn last line is dropped, and so are failures, which are tried again.
            self._rewrite([row for row in read_rows(folder) if "error" not in row])
        self.finished = {row["image"] for row in read_rows(folder)}

    def add(self, inspection: Inspection, photo: Image.Image) -> Row:
        """Write the inspection of an image file and its RGB photo, and return its row."""
        assert inspection.image is not None
        stem = slug(inspection.image)
        overlay = draw_overlay(photo, inspection.anomaly_map)
        png = io.BytesIO()
        overlay.save(png, "PNG", compress_level=3)
        files = {"overlay": f"overlays/{stem}.png", "photo": f"photos/{stem}.jpg"}
        row = inspection.to_json() | files
        with writing_to(self.folder):
            write_atomically(self.folder / row["overlay"], png.getbuffer())
            write_atomically(self.folder / row["photo"], encode_jpeg(photo, MAX_SIDE))
        return self.add_row(
            row, {"anomaly_map": inspection.anomaly_map, "token_maps": inspection.token_maps}
        )

    def add_row(self, row: Row, arrays: dict[str, FloatArray]) -> Row:
        """Write any program's row on an image with its "anomaly_map" or "token_maps".

        Returns:
            The row with the names of its files.
        """
        with writing_to(self.folder):
            for name, array in arrays.items():
                row = row | {name: f"{ARRAY_FOLDERS[name]}/{slug(row['image'])}.npz"}
                write_atomically(self.folder / row[name], encode_array(name, array))
            self._append(row)
        return row

    def merge(self, images: Sequence[Path]) -> None:
        """Bring the rows of all processes, which must be done, into one file, in this order."""
        place = {str(image): index for index, image in enumerate(images)}
        rows = read_rows(self.folder)
        self._rewrite(sorted(rows, key=lambda row: place.get(row["image"], -1)))

    def _rewrite(self, rows: list[Row]) -> None:
        # A merge that was killed leaves rows in two files.
        lines = [json.dumps(row) + "\n" for row in {row["image"]: row for row in rows}.values()]
        with writing_to(self.folder):
            write_atomically(self.folder / "inspections.jsonl", "".join(lines).encode())
            for path in _rank_files(self.folder):
                path.unlink()

    def add_error(self, image: str, error: FlawsightError) -> Row:
        """Write that an image failed, and return its row."""
        row = {"image": image, "error": f"{type(error).__name__}: {error}"}
        with writing_to(self.folder):
            self._append(row)
        return row

    def _append(self, row: Row) -> None:
        with self._rows.open("ab", buffering=0) as file:
            file.write((json.dumps(row) + "\n").encode())
            os.fsync(file.fileno())


def inspect_into(
    run: RunFolder,
    inspector: Inspector,
    images: Sequence[Path],
    on_row: Callable[[Row], None] = lambda row: None,
    rank: int = 0,
    processes: int = 1,
) -> None:
    """Inspect the images that the run does not hold yet, in batches, a broken image being a row.

    Several processes take the same batches as one would, in turns: every `processes`-th, from the
    `rank`-th on. What an image's neighbours are thus does not depend on their number.
    `on_row` is called in another thread.

    Raises:
        ModelError: if the model is at fault.
        RunFolderError: if the run cannot be written.
    """
    missing = [str(path) for path in images if str(path) not in run.finished]
    size = inspector.batch_size
    starts = range(rank * size, len(missing), processes * size)
    batches = [missing[start : start + size] for start in starts]

    def prepare(batch: list[str]) -> Opened:
        opened = inspector.open(batch)
        settings = inspector.settings
        seen_again = settings.crops or settings.reask or settings.follow_edges
        if inspector.generator is None and not seen_again:
            for image in opened.images:
                if isinstance(image, Image.Image):
                    image.thumbnail((MAX_SIDE, MAX_SIDE))  # all that is written of it
        return opened

    def write(traced: Traced) -> None:
        located = inspector.localize(traced)
        for image, (photo, outcome) in zip(traced.opened.given, located, strict=True):
            if isinstance(outcome, FlawsightError):
                on_row(run.add_error(str(image), outcome))
            else:
                assert photo is not None
                on_row(run.add(outcome, photo))

    overlapped(batches, prepare, inspector.trace, write)


def encode_array(name: str, array: FloatArray) -> bytes:
    """Return the .npz file of an array called `name`."""
    content = io.BytesIO()
    # Half precision is for [0, 1]; other programs' scores may be of any size.
    small = np.abs(array).max(initial=0) <= 1
    kept = {name: array.astype(np.float16 if small else np.float32)}
    np.savez_compressed(content, **kept)  # type: ignore[arg-type]
    return content.getvalue()


def about_run(about: dict[str, Any]) -> dict[str, Any]:
    """Return what run.json holds."""
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "versions": versions(),
    }


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
    for path in [folder / "inspections.jsonl", *_rank_files(folder)]:
        if not path.exists():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                if number < len(lines):
                    raise RunFolderError(f"{path}, line {number} is damaged: {error}") from error
    return rows


def _rank_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("inspections.rank-*.jsonl"))


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"Cannot write to {folder}: {error.strerror or error}. What is finished is kept; make "
            "room or mend the permissions, and run the same command again."
        ) from error


def describe(inspector: Inspector) -> dict[str, Any]:
    """Return what all inspections of an inspector share."""
    generator = inspector.generator
    served = {"url": generator.base_url, "model": generator.model} if generator else {}
    return {
        "model": {
            "name": inspector.mllm.name,
            "sha256": inspector.mllm.sha256,
            "dtype": str(inspector.mllm.model.dtype).removeprefix("torch."),
            "device": str(inspector.mllm.device),
            "attention": inspector.mllm.attention,
        },
        "settings": inspector.settings.to_json(),
        "threshold": inspector.threshold,
        "generator": served,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    packages = ("flawsight", "torch", "transformers", "peft", "numpy", "pillow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def check_same(
    folder: Path, old: dict[str, Any], new: dict[str, Any], **defaults: dict[str, Any]
) -> None:
    """Compare the description that a folder holds with that of the run that would go on in it.

    Args:
        folder: of the run.
        old: what its run.json holds.
        new: what it would hold if it were made now.
        defaults: by part, what counts where a description does not say: it is older than the
            setting. Those of `Settings` for "settings", unless told.

    Raises:
        RunFolderError: naming what differs.
    """
    usual = dict(_leaves({"settings": Settings().to_json()} | defaults))
    before, now = (usual | dict(_leaves(json.loads(json.dumps(about)))) for about in (old, new))
    if changed := sorted(key for key in before | now if before.get(key) != now.get(key)):
        made_with = ", ".join(f"{key} {before.get(key)}" for key in changed[:3])
        raise RunFolderError(
            f"{folder} was made with another model or other settings ({made_with}"
            f"{', …' if len(changed) > 3 else ''}); choose another --out."
        )


def _leaves(about: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and values of what must be the same throughout a run."""
    for name, value in about.items():
        if path + name in _FREE:
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def slug(image: str) -> str:
    """A file name for an image's results: readable, and distinct for distinct paths."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(image).stem)[:40]
    return f"{readable}-{hashlib.sha256(image.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
