"""Tables for the terminal, in Markdown and in LaTeX, and their values as tidy CSV."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..io.files import write_atomically
from .metric_values import GroupCounts, MetricValue
from .published import PublishedValue, published_values
from .tables import UNDEFINED, Table, all_tables, average_values, total_counts

if TYPE_CHECKING:
    import rich.table


def terminal_tables(tables: Sequence[Table]) -> "list[rich.table.Table]":
    """Return the tables for a rich console."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = []
    for table in tables:
        rich_table = RichTable(
            title=Text(table.title, style="bold"),
            caption=Text("\n".join(table.notes)) if table.notes else None,
            title_justify="left",
            caption_justify="left",
        )
        # Text, not str: a name like [red] is no markup. An interval goes below its value.
        for label in table.labels:
            rich_table.add_column(Text(label), overflow="fold")
        for metric in table.metrics:
            rich_table.add_column(Text(metric), justify="right")
        for row in table.rows:
            cells = [Text(cell) for cell in row[: len(table.labels)]]
            cells += [Text(cell.replace(" [", "\n[")) for cell in row[len(table.labels) :]]
            rich_table.add_row(*cells)
        shown.append(rich_table)
    return shown


def to_markdown(
    tables: Sequence[Table], summary: str = "Percentages with 95 % bootstrap intervals."
) -> str:
    """Return the tables in GitHub's Markdown, below a sentence on what they hold."""
    parts = [f"{summary}\n"]
    for table in tables:
        head = [_markdown(text) for text in (*table.labels, *table.metrics)]
        rule = ["---"] * len(table.labels) + ["---:"] * len(table.metrics)
        rows = [_escaped(row, table, _markdown) for row in table.rows]
        lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
        notes = [f"\n{_markdown(note)}" for note in table.notes]
        parts.append("\n".join([f"### {_markdown(table.title)}\n", *lines, *notes, ""]))
    return "\n".join(parts)


def to_latex(tables: Sequence[Table]) -> str:
    """Return the tables for a LaTeX document that loads booktabs and adjustbox."""
    parts = ["% Needs \\usepackage{booktabs,adjustbox}.\n% Percentages with 95 % intervals.\n"]
    for table in tables:
        head = [_latex(text) for text in (*table.labels, *table.metrics)]
        rows = [_escaped(row, table, _latex) for row in table.rows]
        sentences = [f"{text.rstrip('.')}." for text in (table.title, *table.notes)]
        caption = _latex(" ".join(sentences))
        lines = [
            "\\begin{table}\n\\centering",
            f"\\caption{{{caption}}}",
            "\\begin{adjustbox}{max width=\\textwidth, max totalheight=0.85\\textheight}",
            f"\\begin{{tabular}}{{{'l' * len(table.labels)}{'r' * len(table.metrics)}}}",
            "\\toprule",
            f"{' & '.join(head)} \\\\",
            "\\midrule",
            *(f"{' & '.join(row)} \\\\" for row in rows),
            "\\bottomrule\n\\end{tabular}\n\\end{adjustbox}\n\\end{table}\n",
        ]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def to_csv(
    values: Sequence[MetricValue],
    counts: Sequence[GroupCounts],
    published: Sequence[PublishedValue] | None = None,
) -> str:
    """Return one value per line, those measured here (source "ours") before the published ones.

    Values are in [0, 1] in full precision, and empty if undefined.
    """
    published = published_values() if published is None else published
    counts_of = {(c.dataset, c.group, c.detector): c for c in (*counts, *total_counts(counts))}
    names = ("reference", "dataset", "group", "system", "supervision", "metric", "value")
    count_names = [field.name for field in fields(GroupCounts)][3:]
    text = io.StringIO()
    columns = ["source", *names, "low", "high", "note", *count_names]
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for v in (*values, *average_values(values)):
        found = counts_of.get((v.dataset, v.group, v.detector))
        row = asdict(v) | (asdict(found) if found else {})
        writer.writerow(row | {"source": "ours", "system": v.detector})
    for p in published:
        writer.writerow(asdict(p) | {"source": "published", "reference": p.source})
    return text.getvalue()


def write_tables(
    folder: Path,
    values: Sequence[MetricValue],
    counts: Sequence[GroupCounts],
    published: Sequence[PublishedValue] | None = None,
) -> list[Path]:
    """Write tables.md, tables.tex and metrics.csv, each whole or not at all, and return them."""
    tables = all_tables(values, counts, published)
    contents = {
        "tables.md": to_markdown(tables),
        "tables.tex": to_latex(tables),
        "metrics.csv": to_csv(values, counts, published),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        # Names from odd file systems may hold lone surrogates.
        write_atomically(folder / name, content.encode("utf-8", "backslashreplace"))
    return [folder / name for name in contents]


def _escaped(row: tuple[str, ...], table: Table, escape: Callable[[str], str]) -> list[str]:
    """Escape the names; in percentages only the dash needs it."""
    count = len(table.labels)
    dash = escape(UNDEFINED)
    return [escape(c) for c in row[:count]] + [c.replace(UNDEFINED, dash) for c in row[count:]]


def _markdown(text: str) -> str:
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text)


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    # A bare bracket after the end of a row would be an argument.
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "“": "``",
    "”": "''",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
