"""Run folder → a file or folder in another program's format; images that fail are left out."""

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ..errors import ExportError, FlawsightError
from .anomalib_folder import AnomalibWriter
from .coco import CocoWriter
from .csv_table import CsvWriter
from .fiftyone_dataset import FiftyOneWriter
from .items import Item, Source, read_source
from .labelstudio import LabelStudioWriter
from .mask_images import MasksWriter
from .pascal_voc import VocWriter
from .yolo import YoloWriter


class Writer(Protocol):
    """One format. Its class takes the path to write to, the source and the map threshold."""

    def add(self, item: Item) -> None:
        """Add one image.

        Raises:
            FlawsightError: if it lacks what the format needs; nothing of it is written then.
        """

    def finish(self) -> None:
        """Write the files that `add` did not."""


@dataclass(frozen=True)
class Format:
    """A format: its writer, and the name of its file or folder if --out is not given."""

    make: Callable[[Path, Source, float | None], Writer]
    name: str

    @property
    def is_file(self) -> bool:
        """Whether it is one file, which replaces one of its name."""
        return "." in self.name


FORMATS = {
    "csv": Format(CsvWriter, "inspections.csv"),
    "coco": Format(CocoWriter, "coco.json"),
    "labelstudio": Format(LabelStudioWriter, "labelstudio"),
    "fiftyone": Format(FiftyOneWriter, "fiftyone"),
    "anomalib": Format(AnomalibWriter, "anomalib"),
    "masks": Format(MasksWriter, "masks"),
    "yolo": Format(YoloWriter, "yolo"),
    "yolo-boxes": Format(partial(YoloWriter, boxes=True), "yolo-boxes"),
    "voc": Format(VocWriter, "voc"),
}


@dataclass(frozen=True)
class Exported:
    """The written file or folder, and the number of images in it.

    `left_out` has (image, reason) of each that is not in it, or only with its error.
    """

    path: Path
    images: int
    left_out: tuple[tuple[str, str], ...]


def export(
    run: Path,
    to: str,
    out: Path | None = None,
    map_threshold: float | None = None,
    photos: Path | None = None,
    on_item: Callable[[int], None] = lambda total: None,
    *,
    threshold: float | None = None,
    only: bool | None = None,
) -> Exported:
    """Write a run folder in another format, whole or not at all.

    Args:
        run: run folder of `flawsight inspect` or of a bench.
        to: a name in `FORMATS`.
        out: file or folder; None writes into RUN/export. A file is replaced, a folder is not.
        map_threshold: value of the map above which pixels belong to masks and regions. None: masks
            are what the overlays colour, and regions are those of the run, if it lists them.
        photos: see `read_source`.
        on_item: called after each image with the number of all.
        threshold: see `read_source`.
        only: the verdict of the images to write; the others are passed over. None writes all.

    Raises:
        ExportError: if there is no such format, no run, or no image that can be exported, or the
            export cannot be written.
        MissingExtraError: if the format needs a package that is not installed.
    """
    if to not in FORMATS:
        raise ExportError(f"There is no format {to!r}; choose one of {', '.join(FORMATS)}.")
    if map_threshold is not None and not math.isfinite(map_threshold):
        raise ExportError(f"The map threshold is {map_threshold}; give a number, like 0.4.")
    out = run / "export" / FORMATS[to].name if out is None else out
    if out.is_dir() or (out.exists() and not FORMATS[to].is_file):
        raise ExportError(f"{out} exists; remove it, or choose another --out.")
    source = read_source(run, photos, threshold)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    left_out, passed_over = [], 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        writer = FORMATS[to].make(unfinished, source, map_threshold)
        for item in source.items:
            try:
                if only is not None:
                    item.check()
                if only in (None, item.pred_label):
                    writer.add(item)
                    item.check()
                else:
                    passed_over += 1
            except FlawsightError as error:
                left_out.append((item.image, str(error)))
            on_item(len(source.items))
        if len(left_out) == len(source.items):
            image, reason = left_out[0]
            raise ExportError(f"No image can be exported. {image}: {reason}")
        writer.finish()
        os.replace(unfinished, out)
    except OSError as error:
        reason = f"{error.strerror or error}. Free disk space, or choose another --out."
        raise ExportError(f"Cannot write {out}: {reason}") from error
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        elif unfinished.is_file():
            unfinished.unlink()
    return Exported(out, len(source.items) - len(left_out) - passed_over, tuple(left_out))
