"""`flawsight export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from ..errors import MissingExtraError, SettingsError, StoreError
from .shell import console, errors, explained, progress_columns


def export(
    run: Annotated[
        str,
        typer.Argument(
            help="Run folder of inspect or of a bench. With --labels: folder or database "
            "URL of flawsight serve."
        ),
    ],
    to: Annotated[
        str | None, typer.Option(help="csv, coco, labelstudio, fiftyone, anomalib or masks.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File or folder. Default: below RUN/export.")
    ] = None,
    map_threshold: Annotated[
        float | None,
        typer.Option(help="Pixels of the map above it are marked. Default: what overlays colour."),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="The folder that the photos are in now, if they moved.")
    ] = None,
    labels: Annotated[
        bool,
        typer.Option("--labels", help="Write reviewed photos as a data set: OUT/good, OUT/bad."),
    ] = False,
    product: Annotated[
        str | None, typer.Option(help="With --labels: only photos of this product.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="With --labels: folder of the photos of a database URL.")
    ] = None,
) -> None:
    """Write a run in the format of another program, or what reviewers said as a data set.

    Examples:

        flawsight export runs/today --to csv

        flawsight export runs/today --to coco --out today.json --map-threshold 0.4

        flawsight export flawsight-store --labels --out corrections

    Exit code 1: some images are left out; the lines say why.
    """
    with explained():
        if (to is not None) == labels:
            raise SettingsError("Say one of the two: --to FORMAT for a run, --labels for a store.")
        not_for_this = (
            {"--map-threshold": map_threshold, "--photos": photos}
            if labels
            else {"--product": product, "--files": files}
        )
        given = [option for option, value in not_for_this.items() if value is not None]
        if given:
            needed = "--to FORMAT" if labels else "--labels"
            raise SettingsError(f"{' and '.join(given)} goes with {needed} only; leave it out.")
        if to is None:
            _export_labels(run, out, product, files)
            return
        from ..export.write_export import export

        with Progress(*progress_columns("Exporting"), console=console, transient=True) as progress:
            bar = progress.add_task("", total=None)
            exported = export(
                Path(run), to, out, map_threshold, photos,
                lambda total: progress.update(bar, total=total, advance=1),
            )  # fmt: skip
        for image, reason in exported.left_out:
            errors.print(f"[yellow]left out[/] {escape(image)}  {escape(reason)}", soft_wrap=True)
        console.print(
            f"{exported.images} images: {escape(str(exported.path))}",
            soft_wrap=True,
            highlight=False,
        )
    raise typer.Exit(1 if exported.left_out else 0)


def _export_labels(store: str, out: Path | None, product: str | None, files: Path | None) -> None:
    if out is None:
        raise SettingsError("--labels needs --out: a folder to make, with good/ and bad/.")
    try:
        from ..serve.review_labels import write_labels
        from ..serve.store import Store
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve") from error
    if "://" not in store and not Path(store).is_dir():
        raise StoreError(f"There is no store {store}.")
    counts = write_labels(Store(store, files), out, product)
    console.print(f"{counts.good} good, {counts.bad} bad: {out}", soft_wrap=True)
