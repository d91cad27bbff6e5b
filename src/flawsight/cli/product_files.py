"""Options of `flawsight serve` that name files by product: NAME=FILE."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import ServeError

# What a path of the API holds, whole and as it is.
_EDGE, _INSIDE = r"[^\s\x00-\x1f\x7f/\\]", r"[^\x00-\x1f\x7f/\\]"
_NAME = re.compile(rf"(?!\.{{1,2}}$){_EDGE}({_INSIDE}{{0,198}}{_EDGE})?")


def named_files(values: Sequence[str], option: str) -> dict[str, Path]:
    """Return files by product of NAME=FILE; a bare FILE is called after the file.

    Raises:
        ServeError: if a name is given twice, or cannot be part of a URL.
    """
    found: dict[str, Path] = {}
    for value in values:
        name, _, file = value.partition("=")
        if _is_bare(value):
            name, file = Path(value).stem, value
        if not _NAME.fullmatch(name):
            raise ServeError(
                f"{option} {value}: {name!r} cannot be a product's name; give {option} NAME=FILE "
                "with a name of 1 to 200 characters, without slashes or blanks around it."
            )
        if name in found:
            raise ServeError(
                f"{option} is given twice for the product {name}; give each file a name of its "
                f"own: {option} NAME=FILE."
            )
        found[name] = Path(file)
    return found


def files_of_products(
    values: Sequence[str], products: Collection[str], option: str
) -> dict[str, Path]:
    """Return files by product; a bare FILE is that of the only product.

    Raises:
        ServeError: if a name is no product's, or none is given and there are several products.
    """
    if len(values) == 1 and len(products) == 1 and _is_bare(values[0]):
        return dict.fromkeys(products, Path(values[0]))
    for value in filter(_is_bare, values):
        raise ServeError(
            f"{option} {value} does not say which product it is for; give {option} NAME=FILE."
        )
    files = named_files(values, option)
    if unknown := sorted(files.keys() - set(products)):
        raise ServeError(
            f"{option} names the product {unknown[0]}, which has no reference; there are "
            f"{', '.join(products)}."
        )
    return files


def calibration_files(values: Sequence[str], products: Collection[str]) -> dict[str | None, Path]:
    """Return files of calibrations by product; without products, one at most, of None.

    Raises:
        ServeError: as `files_of_products`, or if there are several without products.
    """
    if products:
        files = files_of_products(values, products, "--calibration")
        return {name: file for name, file in files.items()}  # noqa: C416 (another type of key)
    if len(values) > 1:
        raise ServeError("Several --calibration need a --reference for each product.")
    return {None: Path(values[0])} if values else {}


def _is_bare(value: str) -> bool:
    return "=" not in value or Path(value).is_file()
