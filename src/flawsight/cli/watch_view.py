"""A watch as the terminal shows it: the latest verdicts above a line that is kept up to date."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.text import Text

from ..watch.watch_status import WatchStatus
from .inspect_output import line_of
from .shell import console, say

_PER_SECOND = 4


class _StatusLines:
    """What is known now, as Rich asks for it anew."""

    def __init__(self, status: WatchStatus, watched: str) -> None:
        self._status, self._watched = status, watched

    def __rich__(self) -> Text:
        return Text.from_markup("\n".join(status_lines(self._status, self._watched)))


def status_lines(status: WatchStatus, watched: str) -> list[str]:
    """Return in Rich's markup how a watch of a folder stands, and a line for each trouble."""
    parts = [
        f"{status.done} inspected: [red]{status.defective} defective[/], "
        f"[green]{status.good} good[/], {status.failed} failed",
        f"{status.waiting} waiting",
    ]
    if status.unsent:
        parts.append(f"{status.unsent} to be delivered")
    if status.usual_delay is not None:
        parts.append(f"{status.usual_delay:.1f} s to a verdict")
    first = f"[bold]Watching {escape(watched)}[/]  {' · '.join(parts)}  (Ctrl-C ends)"
    return [first, *(f"[yellow]{escape(note)}[/]" for note in list(status.notes.values()))]


@contextmanager
def watch_view(
    status: WatchStatus, watched: str, quiet: bool
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a watch; yield what takes its rows, from any thread.

    On a terminal the status stays at the bottom. Elsewhere only verdicts are printed, and each new
    trouble once.
    """
    told: set[str] = set()

    def on_row(row: dict[str, Any]) -> None:
        if not quiet:
            say(line_of(row))
        if not console.is_terminal:
            notes = set(status.notes.values())
            for note in notes - told:
                say(f"[yellow]Note:[/] {escape(note)}")
            told.clear()
            told.update(notes)

    if not console.is_terminal:
        yield on_row
        return
    lines = _StatusLines(status, watched)
    with Live(lines, console=console, refresh_per_second=_PER_SECOND, transient=True):
        yield on_row
