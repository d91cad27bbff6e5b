"""What all verbs share: the consoles, how an error ends a command, how its memory is kept."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..errors import FlawsightError

console = Console()
errors = Console(stderr=True)

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 512 << 20


@contextmanager
def explained() -> Iterator[None]:
    """End the command with exit code 2 on a user's error, and with 130 when it is stopped."""
    try:
        yield
    except FlawsightError as error:
        errors.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        errors.print("Stopped. What is finished is kept; run the same command again to go on.")
        raise typer.Exit(130) from None


def progress_columns(what: str) -> tuple[ProgressColumn, ...]:
    """Return the columns of a progress bar: what is done, how far, and how long it will take."""
    return (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip


def keep_freed_memory() -> None:
    """Have glibc keep freed memory, so that what is computed next finds no new pages to clear.

    On a CPU each layer frees its activations and the next allocates as many
    (docs/performance.md). Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
