"""What ends the pause between two scans of a folder: time, or the system's word of a change.

A scan finds everything. The words only make it come sooner, so a lost one loses no photo.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, Protocol

_SLICE = 0.1  # seconds; a signal's handler cannot end a longer wait without a risk of deadlock


class Alarm(Protocol):
    """Pauses between scans.

    Attributes:
        hears: whether it is told of changes.
    """

    hears: bool

    def wait(self, least: float, most: float, stopped: Callable[[], bool]) -> None:
        """Wait for `most` seconds, or less after a change or when stopped, but for `least`."""

    def close(self) -> None:
        """Stop listening."""


class Timer:
    """Knows of no changes: for network shares, and without the package watchdog."""

    hears = False

    def wait(self, least: float, most: float, stopped: Callable[[], bool]) -> None:
        """Wait for `most` seconds, unless stopped."""
        ends = time.monotonic() + most
        while not stopped() and (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))

    def close(self) -> None:
        """Do nothing."""


class FolderEvents:
    """Is told by the operating system, through watchdog, of changes in a folder and below it.

    Raises:
        ModuleNotFoundError: if watchdog is not installed.
        OSError: if the system cannot watch the folder, or no more folders.
    """

    hears = True

    def __init__(self, folder: Path) -> None:
        from watchdog.observers import Observer

        rung = Event()

        class Handler:
            def dispatch(self, event: Any) -> None:
                if event.event_type not in ("opened", "closed_no_write"):  # our own reading
                    rung.set()

        logging.getLogger("watchdog").setLevel(logging.ERROR)  # it warns of being stopped
        self._rung = rung
        self._observer = Observer()
        self._observer.schedule(Handler(), str(folder), recursive=True)
        self._observer.start()

    def wait(self, least: float, most: float, stopped: Callable[[], bool]) -> None:
        """Wait for a change, for `most` seconds, unless stopped; but for `least`."""
        began = time.monotonic()
        while not stopped() and (left := began + most - time.monotonic()) > 0:
            if self._rung.wait(min(left, _SLICE)):
                break
        if not stopped():
            time.sleep(max(0.0, began + least - time.monotonic()))
        self._rung.clear()

    def close(self) -> None:
        """Stop listening."""
        self._observer.stop()
        self._observer.join(5)
