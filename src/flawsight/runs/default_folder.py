"""The run folder of `flawsight inspect` without --out."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from .read import holds_run, read_rows

NAME = "flawsight-run"


def default_folder(images: Sequence[Path]) -> Path:
    """Return the first of flawsight-run, flawsight-run-2, … that has no run, or one of the images.

    It is of the images if some are in it, and it has no others, but for files that are gone. So the
    same photos, and a folder that grows, are resumed; other photos get a folder of their own.

    Raises:
        RunFolderError: if a run cannot be read.
    """
    wanted = set(map(str, images))
    for number in count(1):
        folder = Path(NAME if number == 1 else f"{NAME}-{number}")
        done = {str(row["image"]) for row in read_rows(folder)} if holds_run(folder) else set()
        others = done - wanted
        if not done or (len(others) < len(done) and not any(Path(o).exists() for o in others)):
            return folder
    raise AssertionError
