"""`flawsight data mix`."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ..errors import DatasetError
from . import options
from .shell import console, explained, print_counts, say, warn


def mix(
    out: Annotated[Path, typer.Argument(help="JSONL list to write.")],
    data: Annotated[
        list[str],
        typer.Option(help="Data set to draw from: known name, NAME=PATH or path; repeatable."),
    ],
    images: Annotated[int, typer.Option(min=2, help="Number of images in all.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    test_data: Annotated[
        list[str] | None,
        typer.Option(help="Test set whose products and files are not drawn; repeatable."),
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
    from ..data.unused import left_out_line
    from ..io.files import write_atomically

    with explained():
        datasets = [d for spec in data for d in open_datasets(spec, data_root)]
        tested = [d for spec in test_data or [] for d in open_datasets(spec, data_root)]
        warn(map(left_out_line, datasets))
        names = Counter(dataset.name for dataset in datasets)
        if twice := sorted(name for name, count in names.items() if count > 1):
            raise DatasetError(f"Data sets need different names; twice: {', '.join(twice)}.")
        for shared in shared_products(datasets, tested):
            verdict = "[red]left out[/]" if shared.excluded else "[yellow]used, but resembles[/]"
            say(
                f"{escape(shared.dataset)} {escape(shared.category)}: {verdict} "
                f"({escape(shared.test_dataset)} {escape(shared.test_category)})"
            )
        if out.is_dir():
            raise DatasetError(f"{out} is a folder; name the list to write, like mix.jsonl.")
        with console.status("Comparing with the test data …"):
            chosen, copies = training_mix_apart(datasets, images, seed, tested)
        lines = "".join(json.dumps(mixed.to_json()) + "\n" for mixed in chosen)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, lines.encode())
        counts = Counter((m.dataset, m.sample.category, m.sample.label) for m in chosen)
        print_counts(
            ("data set", "category"),
            ("normal", "defective"),
            [(*key, counts[*key, 0], counts[*key, 1]) for key in sorted({k[:2] for k in counts})],
        )
        if copies:
            say(f"{copies} files that occur in the test data were left out.")
        if len(chosen) < images:
            say(
                f"[yellow]{len(chosen)} images, {images - len(chosen)} fewer than asked:[/] "
                "half must be normal and half defective, and there are too few of one kind."
            )
        say(f"Written: {out}")
