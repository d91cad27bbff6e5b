"""`flawsight data`: check, list, make and mix data sets."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ..errors import DatasetError, SettingsError
from .shell import console, explained, progress_columns

if TYPE_CHECKING:
    from ..data.check import Report
    from ..data.dataset import Dataset
    from ..data.training_mix import MixedSample

app = typer.Typer(
    help="Check, list, make and mix data sets.", no_args_is_help=True, rich_markup_mode="markdown"
)

DataRoot = Annotated[
    Path | None, typer.Option(help="Where known data sets lie; else $FLAWSIGHT_DATA.")
]


@app.command()
def check(
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="SPEC…", help="A known name, NAME=PATH, a folder, meta.json, CSV or JSONL."
        ),
    ],
    data_root: DataRoot = None,
    limit: Annotated[int, typer.Option(min=1, help="Findings of one kind to print.")] = 20,
) -> None:
    """Count the images of data sets, and look for files that would spoil a measurement.

    Looks for unreadable images and masks, masks of another size than their upright image, masks
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


@app.command("list")
def list_() -> None:
    """List the data sets known by name: licence, source, size, layout and what the paper did.

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


@app.command()
def make(
    out: Annotated[Path, typer.Argument(help="Folder of the set; one begun before is continued.")],
    pairs: Annotated[
        int, typer.Option(min=1, help="Test pairs of each family: one image normal, one not.")
    ],
    families: Annotated[
        str, typer.Option(help="train, validation, test, all, or names with commas.")
    ] = "test",
    train: Annotated[int, typer.Option(min=0, help="Normal training images of each family.")] = 0,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIDE|WIDTHxHEIGHT", help="In pixels, default 240; several take turns."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same files.")] = 0,
    difficulty: Annotated[
        float, typer.Option(min=0, max=1, help="0: large plain defects; 1: small faint ones too.")
    ] = 1.0,
    defects: Annotated[int, typer.Option(min=1, max=4, help="Most defects in an image.")] = 1,
    kinds: Annotated[
        str, typer.Option(help="Of defects: train, or test for those kept out of training.")
    ] = "train",
) -> None:
    """Render procedural surfaces with exact masks, in the layout of MVTec-AD, as many as wanted.

    Examples:

        flawsight data make sets/surfaces --pairs 100

        flawsight data make sets/two --pairs 50 --families 'leather,hex nut' --size 240 --size 320x180

    A larger number of pairs later adds to the set and changes nothing in it.
    """  # noqa: E501
    from flawsight_surfaces.make_dataset import Recipe, choose_families, make_dataset

    with explained():
        recipe = Recipe(seed, tuple(map(_parse_size, size or ["240"])), difficulty, defects, kinds)
        chosen = choose_families(families)
        total = len(chosen) * (2 * pairs + train)
        with Progress(*progress_columns("Rendering"), console=console, transient=True) as progress:
            bar = progress.add_task("", total=total)
            made = make_dataset(
                out, recipe, chosen, pairs, train, lambda count: progress.advance(bar, count)
            )
        before = f" ({total - made} were there before)" if made < total else ""
        console.print(
            f"{made} images of {len(chosen)} families made{before}: {out}", soft_wrap=True
        )


def _parse_size(text: str) -> tuple[int, int]:
    """Turn "240" or "320x180" (width × height) into (height, width)."""
    width, cross, height = text.lower().partition("x")
    try:
        return int(height if cross else width), int(width)
    except ValueError:
        raise SettingsError(f"--size takes 240 or 320x180, not {text!r}.") from None


@app.command()
def mix(
    out: Annotated[Path, typer.Argument(help="JSONL list to write.")],
    data: Annotated[list[str], typer.Option(help="Data set to draw from: NAME=PATH, …")],
    images: Annotated[int, typer.Option(min=2, help="How many images in all.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    test_data: Annotated[
        list[str] | None,
        typer.Option(help="Data set tested on: none of its products or files is drawn."),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Draw the paper's training mix: about 4 K images with image-level labels, half defective.

    The paper trains on VisA, GoodsAD, VISION and PR-REAL, and says that no product of its test
    sets is among them. So a category whose name is that of a product in MVTec-AD, KolektorSDD,
    DTD-Synthetic or WFDD (case, numbers and plural aside: "capsules" is "capsule") is left out.

    Example:

        flawsight data mix mix.jsonl --data VisA=data/VisA --data GoodsAD=data/GoodsAD
    """
    from ..data.open import open_datasets
    from ..data.training_mix import shared_products

    with explained():
        datasets = [d for spec in data for d in open_datasets(spec, data_root)]
        tested = [d for spec in test_data or [] for d in open_datasets(spec, data_root)]
        names = [dataset.name for dataset in datasets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DatasetError(f"Data sets need different names; twice: {', '.join(twice)}.")
        for shared in shared_products(datasets, tested):
            verdict = "[red]left out[/]" if shared.excluded else "[yellow]kept, but resembles[/]"
            console.print(
                f"{escape(shared.dataset)} {escape(shared.category)}: {verdict} "
                f"({escape(shared.test_dataset)} {escape(shared.test_category)})",
                soft_wrap=True, highlight=False,
            )  # fmt: skip
        chosen, copies = _mix_apart(datasets, images, seed, tested)
        _write_list(out, chosen)
        _print_mix(chosen)
        if copies:
            console.print(f"{copies} files that occur in the test data were left out.")
        if len(chosen) < images:
            console.print(
                f"[yellow]{len(chosen)} images, {images - len(chosen)} fewer than asked:[/] "
                "half must be normal and half defective, and one kind does not suffice.",
                soft_wrap=True, highlight=False,
            )  # fmt: skip
        console.print(f"Written: {out}", soft_wrap=True)


def _mix_apart(
    datasets: "Sequence[Dataset]", images: int, seed: int, tested: "Sequence[Dataset]"
) -> "tuple[list[MixedSample], int]":
    """Mix without any file whose bytes the test data hold too; return how many those are."""
    from ..data.training_mix import file_hashes, training_mix

    with console.status("Comparing with the test data …"):
        forbidden = set(file_hashes([s.image for d in tested for s in d.samples]).values())
        hashes: dict[Path, bytes] = {}
        copies: set[Path] = set()
        while True:
            chosen = training_mix(datasets, images, seed, without=copies, test_datasets=tested)
            if not forbidden:
                return chosen, 0
            drawn = [mixed.sample.image for mixed in chosen]
            hashes |= file_hashes([image for image in drawn if image not in hashes])
            found = {image for image in drawn if hashes[image] in forbidden}
            if not found:
                return chosen, len(copies)
            copies |= found


def _write_list(out: Path, chosen: "Sequence[MixedSample]") -> None:
    if out.is_dir():
        raise DatasetError(f"{out} is a folder; name the list to write, like mix.jsonl.")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(mixed.to_json()) + "\n" for mixed in chosen)
    os.replace(part, out)


def _print_mix(chosen: "Sequence[MixedSample]") -> None:
    table = Table(box=box.SIMPLE)
    for column in ("data set", "category"):
        table.add_column(column, overflow="fold")
    for column in ("normal", "defective"):
        table.add_column(column, justify="right")
    keys = sorted({(mixed.dataset, mixed.sample.category) for mixed in chosen})
    for key in keys:
        labels = [m.sample.label for m in chosen if (m.dataset, m.sample.category) == key]
        table.add_row(*map(escape, key), str(labels.count(0)), str(labels.count(1)))
    table.add_section()
    defective = sum(mixed.sample.label for mixed in chosen)
    table.add_row("all", "", str(len(chosen) - defective), str(defective))
    console.print(table)
