"""Keep a run's report up to date while the run grows."""

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from ..errors import FlawsightError
from ..report.write_report import write_report

_SHARE = 10  # of the time, at most one part in so many goes into reports


class ReportKeeper:
    """Writes the report of a run in a thread of its own, soon after each change.

    Args:
        folder: of the run.
        note: is told why a report could not be written, and None when one was.
        pause: seconds between two reports at least; long reports come more rarely.
    """

    def __init__(
        self,
        folder: Path,
        note: Callable[[str | None], None] = lambda text: None,
        pause: float = 2.0,
    ) -> None:
        self._folder, self._note, self._pause = folder, note, pause
        self._changed, self._closing = Event(), Event()
        self._changed.set()  # the report of an earlier process may be behind
        self._thread = Thread(target=self._keep, name="report", daemon=True)
        self._thread.start()

    def touch(self) -> None:
        """Note that the run has changed."""
        self._changed.set()

    def close(self) -> Path:
        """Write the last report and return its path.

        Raises:
            RunFolderError: if it cannot be written.
        """
        self._closing.set()
        self._changed.set()
        self._thread.join()
        return write_report(self._folder)

    def _keep(self) -> None:
        while True:
            self._changed.wait()
            if self._closing.is_set():
                return
            self._changed.clear()
            began = monotonic()
            try:
                write_report(self._folder)
                self._note(None)
            except FlawsightError as error:
                self._note(str(error))
            self._closing.wait(max(self._pause, _SHARE * (monotonic() - began)))
