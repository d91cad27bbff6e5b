"""Another adapter, references and calibrations for a running service, without losing a request.

The new setup is made and tried while the old one still serves, and then replaces it. An image keeps
the setup that was in use when its request came. All images of a batch have one setup, so no
inspection mixes two. If anything is wrong with the new setup, the old one stays.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from ..errors import BusyError, FlawsightError, ServeError
from .inspection_setup import Setup

_log = logging.getLogger(__name__)
# Between two looks at the files. They are read when two looks in a row find them the same.
LOOK_SECONDS = 2.0

Stamp = dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Reloads:
    """How a setup is made again.

    Attributes:
        remake: makes it of the files as they are now.
        paths: the files and folders that it reads.
        by_themselves: whether changed files are read without being asked to.
    """

    remake: Callable[[], Setup]
    paths: Sequence[Path]
    by_themselves: bool = False


class Reloader:
    """The setup in use.

    Args:
        setup: the first one.
        reloads: None if there is nothing to read again.
        on_reload: called with the new setup, or None if a reload was refused.
    """

    def __init__(
        self,
        setup: Setup,
        reloads: Reloads | None = None,
        on_reload: Callable[[Setup | None], None] = lambda setup: None,
    ) -> None:
        self.now = setup
        self.refused = False  # whether the latest reload was
        self.reloads = reloads
        self._on_reload = on_reload
        self._read = stamp_of(reloads.paths) if reloads else {}

    def note(self, file: Path) -> None:
        """Take a file as it is for the one that is in use: the service itself has changed it."""
        self._read = self._read | stamp_of([file])

    def changed(self) -> Stamp | None:
        """Return the stamp of the files if they have changed since they were last read."""
        found = stamp_of(self.reloads.paths) if self.reloads else {}
        return None if found == self._read else found

    def reload_if_changed(self) -> Setup:
        """Reload if the files are still others: the service itself may just have changed them."""
        return self.now if self.changed() is None else self.reload()

    def reload(self) -> Setup:
        """Replace the setup, and return the new one. For one thread at a time.

        Raises:
            ServeError: if there is nothing to read again, or a file is at fault; the old setup
                stays.
        """
        if self.reloads is None:
            raise ServeError(
                "There is nothing to reload; start the service with --adapter, --reference or "
                "--calibration."
            )
        self._read = stamp_of(self.reloads.paths)  # what changes from now on is read next time
        try:
            setup = self.reloads.remake()
        except Exception as error:  # whatever a file makes the libraries raise
            self.refused = True
            self._on_reload(None)
            known = isinstance(error, FlawsightError)
            why = str(error) if known else f"{type(error).__name__}; see the log of the service."
            _log.warning("Nothing was reloaded: %s", error, exc_info=not known)
            raise ServeError(f"Nothing was reloaded, all stays as it was: {why}") from error
        self.now, self.refused = setup, False
        self._on_reload(setup)
        _log.warning("Reloaded: %s", described(setup))
        return setup


def described(setup: Setup) -> str:
    """Return the hashes of a setup in words."""
    model = str(setup.about.get("model_sha256"))[:12]
    good = [f"reference {one.name} {one.sha256[:12]}" for one in setup.references.products]
    return ", ".join([f"model {model}", *good])


def stamp_of(paths: Sequence[Path]) -> Stamp:
    """Return times, sizes and numbers of the files at paths, and of those in folders."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            for file in path.iterdir() if path.is_dir() else [path]:
                with contextlib.suppress(OSError):
                    state = os.stat(file)
                    found[str(file)] = state.st_mtime_ns, state.st_size, state.st_ino
    return found


async def reload_changed(reloader: Reloader, reload: Callable[[], Awaitable[object]]) -> None:
    """Look at the files for ever; call `reload` when they have changed and rest."""
    before: Stamp | None = None
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        found = await to_thread.run_sync(reloader.changed)
        if found is not None and found == before:
            with contextlib.suppress(ServeError, BusyError):  # the former is logged
                await reload()
        before = found
