"""`flawsight export`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from . import options
from .shell import errors, explained, print_json, progress_bar, say


class Verdict(StrEnum):
    """A verdict."""

    DEFECTIVE = "defective"
    GOOD = "good"


def export(
    run: Annotated[
        Path, typer.Argument(help="Run folder of inspect, or of a detector in a bench.")
    ],
    to: Annotated[
        str,
        typer.Option(
            help="Format: csv, coco, labelstudio, fiftyone, anomalib, masks, yolo, yolo-boxes or "
            "voc."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File or folder to write. Default: below RUN/export.")
    ] = None,
    map_threshold: Annotated[
        float | None,
        typer.Option(
            help="Map value in [0, 1] above which pixels are marked. Default: as in the overlays."
        ),
    ] = None,
    threshold: options.NewThreshold = None,
    only: Annotated[
        Verdict | None, typer.Option(help="Verdict of the images to write. Default: all images.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of the photos. Default: where they were inspected.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Write a run in the format of another program.

    Examples:

        flawsight export runs/today --to csv

        flawsight export runs/today --to coco --out today.json --only defective

    Exit code 1: some images are left out; the messages say why.
    """
    with explained(json_):
        from ..export.write_export import export

        with progress_bar("Exporting") as move:
            exported = export(
                run, to, out, map_threshold, photos, lambda total: move(total=total, advance=1),
                threshold=threshold, only=None if only is None else only is Verdict.DEFECTIVE,
            )  # fmt: skip
        for image, reason in exported.left_out:
            say(f"[yellow]left out[/] {escape(image)}  {escape(reason)}", errors)
        say(f"{exported.images} images: {escape(str(exported.path))}")
        if json_:
            print_json(asdict(exported))
    raise typer.Exit(1 if exported.left_out else 0)
