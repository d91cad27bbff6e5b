"""`flawsight data make`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from .shell import explained, progress_bar, say


def make(
    out: Annotated[Path, typer.Argument(help="Folder of the set; a set in it is continued.")],
    pairs: Annotated[
        int, typer.Option(min=1, help="Test pairs per family: one normal and one defective image.")
    ],
    families: Annotated[
        str, typer.Option(help="Families: train, validation, test, all, or names with commas.")
    ] = "test",
    train: Annotated[int, typer.Option(min=0, help="Normal training images per family.")] = 0,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIDE|WIDTHxHEIGHT",
            help="Size of an image in pixels; repeatable, and sizes then alternate. Default: 240.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed makes the same files.")] = 0,
    difficulty: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Difficulty: 0 for large, plain defects; 1 for small, faint ones too.",
        ),
    ] = 1.0,
    defects: Annotated[
        int, typer.Option(min=1, max=4, help="Largest number of defects per image.")
    ] = 1,
    kinds: Annotated[
        str, typer.Option(help="Kinds of defects: train, or test for those kept out of training.")
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
        with progress_bar("Rendering", total) as move:
            made = make_dataset(
                out, recipe, chosen, pairs, train, lambda count: move(advance=count)
            )
        before = f" ({total - made} made before)" if made < total else ""
        say(f"Images made: {made}, families: {len(chosen)}{before}: {out}")


def _parse_size(text: str) -> tuple[int, int]:
    """Turn "240" or "320x180" (width × height) into (height, width)."""
    width, cross, height = text.lower().partition("x")
    try:
        return int(height if cross else width), int(width)
    except ValueError:
        raise SettingsError(f"--size takes 240 or 320x180, not {text!r}.") from None
