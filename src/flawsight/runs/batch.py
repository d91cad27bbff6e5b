"""Inspect the images that a run lacks, in batches."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from ..errors import FlawsightError
from ..inspector import Inspector, PreparedBatch, TracedBatch
from ..io.overlap import overlapped
from ..io.overlay import MAX_SIDE
from .folder import RunFolder
from .read import Row


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
        ModelError: if the model is at fault.
        RunFolderError: if the run cannot be written.
    """
    missing = [str(path) for path in images if str(path) not in run.finished]
    size = inspector.batch_size
    starts = range(rank * size, len(missing), processes * size)
    batches = [missing[start : start + size] for start in starts]

    def prepare(batch: list[str]) -> PreparedBatch:
        prepared = inspector.prepare(batch)
        settings = inspector.settings
        if inspector.generator is None and not settings.crops and not settings.guided_filter:
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
            if isinstance(outcome, FlawsightError):
                on_row(run.add_error(str(image), outcome))
            else:
                assert photo is not None
                on_row(run.add(outcome, photo, stamp))

    overlapped(batches, prepare, inspector.trace, write)
