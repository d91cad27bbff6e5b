"""`flawsight data check`."""

from dataclasses import asdict, astuple
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from . import options
from .shell import explained, print_counts, print_json, progress_bar, say

if TYPE_CHECKING:
    from ..data.check import Report


def check(
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="SPEC…",
            help="Data set: known name, NAME=PATH, folder, meta.json, CSV or JSONL.",
        ),
    ],
    data_root: options.DataRoot = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Largest number of findings of one kind to print.")
    ] = 20,
    bit_depth: options.BitDepth = None,
    json_: options.Json = False,
) -> None:
    """Count the images of data sets, and find files that would distort a measurement.

    Finds unreadable images and masks, masks that do not fit their image or may have to be turned,
    masks without an image, defective images without a mask, masks of nothing or of more than 90 %,
    masks of normal images, images that occur in two splits or with two labels, and other files.

    Examples:

        flawsight data check MVTec-AD --data-root ~/data

        flawsight data check photos/line3

    Exit code 0: all is well; 1: something was found; 2: it is no data set.
    """
    from ..data.check import check_dataset
    from ..data.open import open_datasets

    reports = []
    with explained(json_):
        for dataset in [d for spec in specs for d in open_datasets(spec, data_root)]:
            with progress_bar(escape(dataset.name), len(dataset.samples)) as move:
                report = check_dataset(dataset, partial(move, advance=1), bit_depth)
            _print_report(report, limit)
            reports.append(report)
        if json_:
            print_json({"data_sets": [asdict(report) for report in reports]})
    raise typer.Exit(1 if any(report.findings for report in reports) else 0)


def _print_report(report: "Report", limit: int) -> None:
    print_counts(
        ("split", "category", "class"),
        ("images", "masks"),
        [astuple(count) for count in report.counts],
        f"{escape(report.name)} ({escape(str(report.root))})",
    )
    kinds = dict.fromkeys(finding.kind for finding in report.findings)
    for kind in kinds:
        findings = [finding for finding in report.findings if finding.kind == kind]
        say(f"[bold red]{kind}: {len(findings)}[/]")
        for finding in findings[:limit]:
            detail = f" ({finding.detail})" if finding.detail else ""
            say(f"  {escape(str(finding.path) + detail)}")
        if len(findings) > limit:
            say(f"  … and {len(findings) - limit} more; --limit prints them.")
    for note in report.notes:
        say(f"[yellow]Note:[/] {escape(note)}")
    if not kinds:
        say("[green]Nothing is wrong.[/]")
