"""Inspect the images that a run lacks, in batches."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from PIL import Image

from ..batches import PreparedBatch, TracedBatch
from ..errors import FlawsightError, ImageError
from ..inspection import Inspection
from ..inspector import Inspector
from ..io.file_stamp import FileStamp
from ..io.overlap import overlapped
from ..io.overlay import MAX_SIDE
from .folder import RunFolder
from .good_photos import save_pictures
from .read import Row

# (path, stamp and photo unless it could not be read, outcome)
Keep = Callable[[str, FileStamp | None, Image.Image | None, Inspection | FlawsightError], None]


def inspect_into(
    run: RunFolder,
    inspector: Inspector,
    images: Sequence[Path],
    on_row: Callable[[Row], None] = lambda row: None,
    rank: int = 0,
    processes: int = 1,
) -> None:
    """Inspect the images that the run lacks, in batches. A broken image becomes a row too.

    Several processes share the batches that one would make: each takes every `processes`-th, from
    the `rank`-th on. The images in a batch thus do not depend on the number of processes.
    `on_row` is called in another thread.

    Raises:
        ImageError: if the folder of an image has gone, as a share does whose connection is lost.
        ModelError: if the model is at fault.
        RunFolderError: if the run cannot be written.
    """
    save_good_photos(run, inspector)
    missing = [str(path) for path in images if str(path) not in run.finished]
    size = inspector.batch_size
    starts = range(rank * size, len(missing), processes * size)

    def keep(
        image: str,
        stamp: FileStamp | None,
        photo: Image.Image | None,
        outcome: Inspection | FlawsightError,
    ) -> None:
        if isinstance(outcome, FlawsightError):
            on_row(run.add_error(image, outcome))
        else:
            assert photo is not None
            on_row(run.add(outcome, photo, stamp))

    inspect_batches(inspector, (missing[start : start + size] for start in starts), keep)


def save_good_photos(run: RunFolder, inspector: Inspector) -> None:
    """Write the pictures of the inspector's reference, if it has one, into the run folder.

    Raises:
        RunFolderError: if it cannot be written.
    """
    if inspector.reference is not None:
        save_pictures(run.folder, inspector.reference)


def inspect_batches(
    inspector: Inspector,
    batches: Iterable[Sequence[str]],
    keep: Keep,
    *,
    folders_may_go: bool = False,
) -> None:
    """Inspect batches of image files, and hand each outcome to `keep`, in another thread.

    The next batch is taken while the last one is inspected.

    Args:
        inspector: that inspects.
        batches: of paths.
        keep: takes the path, and the file's stamp, its RGB photo and the inspection, or the error.
        folders_may_go: whether a photo whose folder has gone is an error like others.

    Raises:
        ImageError: otherwise, if the folder of an image has gone.
        ModelError: if the model is at fault.
    """

    def prepare(batch: Sequence[str]) -> PreparedBatch:
        prepared = inspector.prepare(batch)
        for path, read in zip(batch, prepared.images, strict=True):
            if folders_may_go or not isinstance(read, ImageError):
                continue
            if _is_gone(os.path.dirname(path)):
                raise ImageError(
                    f"The folder {os.path.dirname(path)} is gone or empty: is its disk or share "
                    "connected? Finished results are kept; run the same command again to resume."
                ) from read
        settings = inspector.settings
        again = settings.crops or settings.guided_filter or settings.explain == "defective"
        if inspector.generator is None and not again:  # else the photos are needed whole
            for image in prepared.images:
                if isinstance(image, Image.Image):
                    image.thumbnail((MAX_SIDE, MAX_SIDE))  # the size at which it is written
        return prepared

    def write(traced: TracedBatch) -> None:
        located = inspector.localize(traced)
        prepared = traced.prepared
        for image, stamp, (photo, outcome) in zip(
            prepared.given, prepared.stamps, located, strict=True
        ):
            keep(str(image), stamp, photo, outcome)

    overlapped(batches, prepare, inspector.trace, write)


def _is_gone(folder: str) -> bool:
    """Whether a folder cannot be listed or is empty, like the mount point of a lost share."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return True
