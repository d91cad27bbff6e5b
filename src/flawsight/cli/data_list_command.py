"""`flawsight data list`."""

from rich.markup import escape
from rich.table import Table

from .shell import console


def list_() -> None:
    """List the data sets known by name: licence, source, size, layout and use in the paper.

    Nothing is downloaded: get a data set from its source, under its licence, and put it below the
    folder given as --data-root or in $FLAWSIGHT_DATA.
    """
    from ..data.catalog import BENCHMARKS

    for benchmark in BENCHMARKS:
        table = Table(
            title=f"[bold]{escape(benchmark.name)}[/]", title_justify="left", show_header=False,
            box=None, padding=(0, 2, 0, 2),
        )  # fmt: skip
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        rows = {
            "images": benchmark.images,
            "licence": benchmark.licence,
            "source": benchmark.source,
            "folder": " or ".join(benchmark.folders),
            "layout": benchmark.layout,
            "the paper": benchmark.used_for,
            "note": benchmark.note,
        }
        for label, text in rows.items():
            if text:
                table.add_row(label, escape(text))
        console.print(table)
        console.print()
