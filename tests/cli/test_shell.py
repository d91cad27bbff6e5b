"""What the command line shows on a terminal, and elsewhere."""

import io
import os
import select
import sys
from collections.abc import Iterator

import pytest

from flawsight.cli import shell

# Codes that hide the cursor, move it and clear a line.
HIDE, UP, CLEAR = "\x1b[?25l", "\x1b[1A", "\x1b[2K"
RED = "\x1b[31m"


@pytest.fixture
def terminal() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """What is read from a terminal, and what writes to it."""
    reading, writing = os.openpty()
    os.set_blocking(reading, False)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield reading, stream
    os.close(reading)


def show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what the verbs do, with new consoles."""
    console = shell.make_console()
    monkeypatch.setattr(shell, "console", console)
    with console.status("Loading …"):
        shell.say("[red]found[/]", console)
    with shell.progress_bar("Inspecting", 3) as move:
        for _ in range(3):
            move(advance=1)


@pytest.mark.parametrize("forced", [{"FORCE_COLOR": "1"}, {"FORCE_COLOR": "3", "TERM": "xterm"}])
def test_forced_colours_are_no_animation(
    forced: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TERM": "xterm-256color", **forced}.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    show(monkeypatch)
    shown = stream.getvalue()
    assert f"{RED}found" in shown
    assert not any(code in shown for code in (HIDE, UP, CLEAR, "\r", "Loading", "Inspecting"))


def test_no_colours_without_a_terminal_or_force(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdout", stream := io.StringIO())
    show(monkeypatch)
    assert stream.getvalue().split() == ["found"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("forced", [None, "1"])
def test_a_terminal_is_animated(
    forced: str | None, terminal: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if forced is None:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    else:
        monkeypatch.setenv("FORCE_COLOR", forced)
    reading, stream = terminal
    monkeypatch.setattr(sys, "stdout", stream)
    show(monkeypatch)
    stream.flush()
    content = b""
    while select.select([reading], [], [], 0.5)[0]:  # one read may give a part of it
        content += os.read(reading, 100_000)
    shown = content.decode()
    assert f"{RED}found" in shown
    assert all(code in shown for code in (HIDE, CLEAR, "Loading", "Inspecting"))


def test_a_closed_stream_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    console = shell.make_console()
    stream.close()
    assert not console.is_terminal
