"""`flawsight labels`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import MissingExtraError, StoreError
from .shell import explained, say


def labels(
    store: Annotated[str, typer.Argument(help="Folder or database URL of flawsight serve.")],
    out: Annotated[Path, typer.Option(help="Folder to make or add to, with good/ and bad/.")],
    product: Annotated[
        str | None, typer.Option(help="Product whose photos are written. Default: all.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="Folder of the photos, if the store is a database URL.")
    ] = None,
) -> None:
    """Write the reviewed photos of a store as a data set to train on.

    Rerun it to add later reviews; a photo whose label has changed moves.

    Example:

        flawsight labels flawsight-store --out corrections
    """
    with explained():
        try:
            from ..serve.open_database import DATABASE
            from ..serve.review_labels import write_labels
            from ..serve.store import Store
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "serve") from error
        if "://" not in store and not (Path(store) / DATABASE).is_file():
            raise StoreError(f"There is no store {store}.")
        counts = write_labels(Store(store, files), out, product)
        changes = f"{counts.added} new, {counts.moved} moved"
        if counts.damaged:
            changes += f", {counts.damaged} left out as damaged"
        say(f"{counts.good} good, {counts.bad} bad ({changes}): {out}")
