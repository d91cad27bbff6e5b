"""`flawsight data mix`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from ..errors import DatasetError
from . import options
from .shell import console, explained

if TYPE_CHECKING:
    from ..data.training_mix import MixedSample


def mix(
    out: Annotated[Path, typer.Argument(help="JSONL list to write.")],
    data: Annotated[list[str], typer.Option(help="Data set to draw from: NAME=PATH, …")],
    images: Annotated[int, typer.Option(min=2, help="How many images in all.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    test_data: Annotated[
        list[str] | None,
        typer.Option(help="Data set tested on: none of its products or files is drawn."),
    ] = None,
    data_root: options.DataRoot = None,
) -> None:
    """Draw the paper's training mix: about 4 K images with image-level labels, half defective.

    The paper trains on VisA, GoodsAD, VISION and PR-REAL, and says that no product of its test
    sets is among them. So a category whose name is that of a product in MVTec-AD, KolektorSDD,
    DTD-Synthetic or WFDD (case, numbers and plural aside: "capsules" is "capsule") is left out.

    Example:

        flawsight data mix mix.jsonl --data VisA=data/VisA --data GoodsAD=data/GoodsAD
    """
    from ..data.open import open_datasets
    from ..data.training_mix import shared_products, training_mix_apart
    from ..io.files import write_atomically

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
        if out.is_dir():
            raise DatasetError(f"{out} is a folder; name the list to write, like mix.jsonl.")
        with console.status("Comparing with the test data …"):
            chosen, copies = training_mix_apart(datasets, images, seed, tested)
        lines = "".join(json.dumps(mixed.to_json()) + "\n" for mixed in chosen)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, lines.encode())
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
