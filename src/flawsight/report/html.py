"""Run folder → report.html: one page that opens offline, beside the overlays it shows."""

import html
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from ..run_folder import Row, read_description, read_rows, write_atomically
from .overlay import css_scale


def write_report(folder: Path) -> Path:
    """Write the report of a run, suspect images first, and return its path.

    Raises:
        RunFolderError: if the folder holds no readable run.
    """
    rows = read_rows(folder)
    inspected = [row for row in rows if "error" not in row]
    inspected.sort(key=lambda row: (not row["pred_label"], -row["pred_score"]))
    environment = Environment(
        loader=PackageLoader("flawsight.report"), autoescape=select_autoescape(["html"])
    )
    environment.filters["marked"] = lambda row: Markup("".join(_marked(row)))
    environment.filters["url"] = quote
    page = environment.get_template("report.html").render(
        run=read_description(folder),
        inspected=inspected,
        failed=[row for row in rows if "error" in row],
        scale=css_scale(),
    )
    path = folder / "report.html"
    write_atomically(path, page.encode())
    return path


def _marked(row: Row) -> Iterator[str]:
    """Yield the explanation as HTML, the tokens that make the map marked by their weight."""
    text, at = row["explanation"], 0
    heaviest = max((token["weight"] for token in row["tokens"] if token["kept"]), default=0)
    for token in row["tokens"]:
        if not token["kept"] or token["end"] <= at:
            continue
        yield html.escape(text[at : token["start"]])
        strength = token["weight"] / heaviest if heaviest else 1
        yield (
            f'<mark style="--strength:{strength:.2f}" title="S_T {token["S_T"]:.2f}, '
            f'S_I {token["S_I"]:.2f}, weight {token["weight"]:.2f}">'
            f"{html.escape(text[token['start'] : token['end']])}</mark>"
        )
        at = token["end"]
    yield html.escape(text[at:])
