"""`flawsight data check`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from . import options
from .shell import console, explained, progress_columns

if TYPE_CHECKING:
    from ..data.check import Report
    from ..data.dataset import Dataset


def check(
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="SPEC…", help="A known name, NAME=PATH, a folder, meta.json, CSV or JSONL."
        ),
    ],
    data_root: options.DataRoot = None,
    limit: Annotated[int, typer.Option(min=1, help="Most findings of one kind to print.")] = 20,
) -> None:
    """Count the images of data sets, and find files that would spoil a measurement.

    Finds unreadable images and masks, masks of another size than their upright image, masks
    without image and the other way round, empty masks, masks of normal images, and images that
    occur in two splits or with two labels.

    Examples:

        flawsight data check MVTec-AD --data-root ~/data

        flawsight data check photos/line3

    Exit code 0: all is well; 1: something was found; 2: it is no data set.
    """
    from ..data.open import open_datasets

    found = 0
    with explained():
        datasets = [dataset for spec in specs for dataset in open_datasets(spec, data_root)]
        for dataset in datasets:
            report = _check_with_progress(dataset)
            _print_report(report, limit)
            found += len(report.findings)
    raise typer.Exit(1 if found else 0)


def _check_with_progress(dataset: "Dataset") -> "Report":
    from ..data.check import check_dataset

    columns = progress_columns(escape(dataset.name))
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(dataset.samples))
        return check_dataset(dataset, lambda: progress.advance(bar))


def _print_report(report: "Report", limit: int) -> None:
    table = Table(title=f"{escape(report.name)} ({escape(str(report.root))})", box=box.SIMPLE)
    for column in ("split", "category", "class"):
        table.add_column(column, overflow="fold")
    for column in ("images", "masks"):
        table.add_column(column, justify="right")
    for count in report.counts:
        table.add_row(
            escape(count.split), escape(count.category), escape(count.class_name),
            str(count.images), str(count.masks),
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "all", "", "", str(sum(c.images for c in report.counts)),
        str(sum(c.masks for c in report.counts)),
    )  # fmt: skip
    console.print(table)
    kinds = dict.fromkeys(finding.kind for finding in report.findings)
    for kind in kinds:
        findings = [finding for finding in report.findings if finding.kind == kind]
        console.print(f"[bold red]{kind}: {len(findings)}[/]", highlight=False)
        for finding in findings[:limit]:
            detail = f" ({finding.detail})" if finding.detail else ""
            console.print(
                f"  {escape(str(finding.path) + detail)}", soft_wrap=True, highlight=False
            )
        if len(findings) > limit:
            console.print(f"  … and {len(findings) - limit} more; --limit prints them.")
    for note in report.notes:
        console.print(f"[yellow]Note:[/] {escape(note)}", soft_wrap=True, highlight=False)
    if not kinds:
        console.print("[green]Nothing is wrong.[/]")
