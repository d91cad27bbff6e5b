"""What all verbs share: consoles, errors, progress bars, tables and memory."""

import ctypes
import io
import json
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ..errors import FlawsightError
from ..io.files import short_names


class _Console(Console):
    """A console that animates on a terminal alone.

    With FORCE_COLOR, as Jupyter sets it, Rich takes any stream for a terminal, and a file or a
    notebook would get each frame of a progress bar.
    """

    @property
    def is_terminal(self) -> bool:
        """Whether it writes to a terminal, which can move its cursor."""
        try:
            return super().is_terminal and self.file.isatty()
        except ValueError:  # the stream is closed
            return False


def make_console(stderr: bool = False) -> Console:
    """Return a console with the colours that the environment asks for."""
    colours: Any = Console(stderr=stderr).color_system
    return _Console(stderr=stderr, color_system=colours)


console = make_console()
errors = make_console(stderr=True)

# How many files a line of many names.
_NAMED = 3
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h
_KEPT_BYTES = 512 << 20


@contextmanager
def explained(as_json: bool = False) -> Iterator[None]:
    """End the command with exit code 2 on a user's error, and with 130 when it is stopped.

    With `as_json`, all but `print_json` goes to the standard error.
    """
    console.stderr = as_json
    try:
        yield
    except FlawsightError as error:
        say(f"[bold red]Error:[/] {escape(str(error))}", errors)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        errors.print("Stopped. Finished results are kept; run the same command again to resume.")
        raise typer.Exit(130) from None


def say(text: str, where: Console = console) -> None:
    """Print a line of Rich's markup, neither wrapped nor with coloured numbers."""
    where.print(text, soft_wrap=True, highlight=False)


def print_json(summary: Mapping[str, Any]) -> None:
    """Print a summary as one line of JSON; paths become texts."""
    # ASCII, which every console has.
    typer.echo(json.dumps(summary, default=str))


def warn(notes: Iterable[str | None]) -> None:
    """Print notes; None is left out."""
    for note in notes:
        if note is not None:
            say(f"[yellow]Note:[/] {escape(note)}")


def say_warned(rows: Iterable[dict[str, Any]]) -> None:
    """Print of how many rows of a run the photo has warnings."""
    if warned := sum(bool(row.get("warnings")) for row in rows):
        say(f"[yellow]{warned} photos have warnings[/]; the report shows them.")


def names_of(paths: Sequence[str]) -> str:
    """Return the names of the first few files, for a line of `say`."""
    names = [
        name + "/" * path.endswith("/")
        for name, path in zip(short_names(paths), paths, strict=True)
    ]
    return escape(", ".join(names[:_NAMED])) + (", …" if len(names) > _NAMED else "")


def say_left_out(left_out: Mapping[str, Sequence[str]], where: Console = console) -> None:
    """Print how many files are left out for which reason, with the names of the first few."""
    for reason, files in left_out.items():
        say(f"Left out: {len(files)} {escape(reason)} ({names_of(files)}).", where)


@contextmanager
def progress_bar(
    what: str, total: int | None = None, done: int = 0
) -> Iterator[Callable[..., None]]:
    """Show a progress bar; yield what moves it, by `advance=` or to `completed=`."""
    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield partial(progress.update, progress.add_task("", total=total, completed=done))


def print_counts(
    names: Sequence[str], counts: Sequence[str], rows: Sequence[Sequence[Any]], title: str = ""
) -> None:
    """Print a table with columns of names, then of counts, and a last row of total counts."""
    table = Table(title=title or None, box=box.SIMPLE)
    for name in names:
        table.add_column(name, overflow="fold")
    for count in counts:
        table.add_column(count, justify="right")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    totals = [str(sum(column)) for column in list(zip(*rows, strict=True))[len(names) :]]
    table.add_section()
    table.add_row("all", *[""] * (len(names) - 1), *totals)
    console.print(table)


def escape_what_the_console_lacks() -> None:
    """Print a character that the console's encoding lacks as an escape, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: the next computation then has no new pages to clear.

    On a CPU each layer frees its activations and the next allocates as many
    (docs/performance.md). Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)


def quiet_libraries() -> None:
    """Keep the warnings of libraries, which their own users can act on, off the console."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("PIL", "matplotlib", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)


def share_memory_pools() -> None:
    """Have the threads of this process share two of glibc's memory pools.

    By default there are up to eight per core. Each keeps what its threads freed, so a service whose
    threads come and go grows for hours.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)
