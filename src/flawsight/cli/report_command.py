"""`flawsight report`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import DatasetError
from .options import DataRoot, NewThreshold
from .shell import console, explained


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, or folder DATASET/DETECTOR of a bench.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="Data set with the labels of the images: name, NAME=PATH or path."
        ),
    ] = None,
    data_root: DataRoot = None,
    threshold: NewThreshold = None,
    one_file: Annotated[
        bool | None,
        typer.Option(
            "--one-file/--folder",
            help="Write one file or a folder. Default: one file for up to 40 images.",
        ),
    ] = None,
) -> None:
    """Write report.html of a run again, with true labels if they are known.

    Examples:

        flawsight report runs/today --data photos/line3

        flawsight report runs/bench/MVTec-AD/flawsight --one-file

        flawsight report runs/today --threshold 0.4

    A bench folder already has its labels.
    """
    with explained():
        from ..data.open import open_datasets
        from ..evaluate.bench import samples_of_run
        from ..report.write_report import write_report
        from ..runs.read import read_rows

        samples = (
            samples_of_run(run)
            if data is None
            else [s for dataset in open_datasets(data, data_root) for s in dataset.samples]
        )
        labels = {str(sample.image): bool(sample.label) for sample in samples}
        if data is not None and labels.keys().isdisjoint(row["image"] for row in read_rows(run)):
            raise DatasetError(
                f"{data} has none of the images of {run}; give the data set they come from."
            )
        path = write_report(run, labels, one_file, threshold)
        console.print(f"Report: {path}", soft_wrap=True)
