"""Markdown tables, and the sections of docs/*.md that hold them."""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
Cell = str | float


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table; numbers get three digits."""
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(map(_shown, row))} |" for row in rows]
    return "\n".join(lines)


def _shown(value: Cell) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def replaced(page: str, section: str, text: str) -> str:
    """Return the page with new text between the section's two markers.

    Raises:
        SystemExit: if the page has no such section.
    """
    pattern = rf"(<!-- begin {section} -->\n).*?(<!-- end {section} -->)"
    content, count = re.subn(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"The page has no section {section!r}.")
    return content


def parser_of(doc: str | None, writes: bool = False) -> argparse.ArgumentParser:
    """Return a script's parser, with the option --write if its tables go into docs/results.md."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=raw)
    if writes:
        parser.add_argument(
            "--write", action="store_true", help="put the tables in docs/results.md"
        )
    return parser


def publish(section: str, text: str, write: bool) -> None:
    """Print the text of a section and, if asked to, put it in docs/results.md."""
    print(text)
    if write:
        page = DOCS / "results.md"
        page.write_text(replaced(page.read_text(), section, text))
