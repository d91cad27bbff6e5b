"""Inspect each photo that comes into a folder, once it is complete."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic

from PIL import Image

from ..errors import FlawsightError, ImageError
from ..inspection import Inspection
from ..inspector import Inspector
from ..io.file_stamp import FileStamp
from ..io.unwritten import has_unwritten_end
from ..runs.batch import inspect_batches, save_good_photos
from ..runs.folder import RunFolder
from ..runs.read import Row, read_rows
from .alarm import Alarm, FolderEvents, Timer
from .archive import Archive, Move
from .arrivals import Arrivals
from .hooks import Hook
from .outbox import Outbox
from .report_keeper import ReportKeeper
from .scan_folder import is_remote, scan
from .watch_status import WatchStatus

_QUIET = 5.0  # seconds between scans if the system tells of changes, and none are under way


@dataclass(frozen=True)
class Plan:
    """What to watch, and what happens to the photos and results.

    Attributes:
        folder: whose photos, and those below it, are inspected.
        move_to: folder to whose good/ and defective/ they are moved then; None leaves them.
        hook: gets the row of each defective photo as JSON; None for none.
        poll: seconds between scans; None lets the system tell of changes if it can, or is 0.2.
        settle: seconds for which a file must not change before it is read.
        patience: seconds after that for which a file that cannot be read may still be coming.
    """

    folder: Path
    move_to: Path | None = None
    hook: Hook | None = None
    poll: float | None = None
    settle: float = 0.4
    patience: float = 10.0


def watch(
    plan: Plan,
    run: RunFolder,
    inspector: Inspector,
    stopped: Callable[[], bool],
    on_row: Callable[[Row], None] = lambda row: None,
    status: WatchStatus | None = None,
) -> Path:
    """Inspect what is in a folder and what comes, until stopped; return the report's path.

    A photo has one verdict per content: the run's rows tell what is done, also after a kill. A
    photo that is replaced under its name is inspected again. One that cannot be read is tried again
    when it changes, and when the watch is started again.

    Args:
        plan: what to watch.
        run: where the rows go.
        inspector: that inspects; its `batch_size` is the most photos at once.
        stopped: says whether to end. A batch that has begun is finished.
        on_row: is called with each row, in another thread.
        status: is kept up to date.

    Raises:
        ModelError: if the model is at fault.
        RunFolderError: if the run cannot be written.
    """
    status = WatchStatus() if status is None else status
    save_good_photos(run, inspector)
    rows = read_rows(run.folder)
    status.before = len(rows)
    report = ReportKeeper(run.folder, partial(status.note, "report"))
    outbox = None
    if plan.hook is not None:
        outbox = Outbox(run.folder, plan.hook, rows, partial(status.note, "hook"))
    watcher = _Watcher(plan, run, inspector, stopped, on_row, status, report, outbox, rows)
    del rows  # they take much memory
    try:
        watcher.go_on(_open_alarm(plan))
    finally:
        if outbox is not None:
            status.unsent = outbox.close()
            status.given_up = outbox.given_up
        path = report.close()
    return path


def _open_alarm(plan: Plan) -> Alarm:
    if plan.poll is None and not is_remote(plan.folder):
        with suppress(ModuleNotFoundError, OSError):
            return FolderEvents(plan.folder)
    return Timer()


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from a later one of its name; None if it is gone."""
    with suppress(OSError):
        state = os.stat(folder)
        return state.st_dev, state.st_ino
    return None


class _Watcher:
    """One watch. `_keep` is called in another thread than all else."""

    def __init__(
        self,
        plan: Plan,
        run: RunFolder,
        inspector: Inspector,
        stopped: Callable[[], bool],
        on_row: Callable[[Row], None],
        status: WatchStatus,
        report: ReportKeeper,
        outbox: Outbox | None,
        rows: list[Row],
    ) -> None:
        self._plan, self._run, self._inspector = plan, run, inspector
        self._stopped, self._on_row, self._status = stopped, on_row, status
        self._report, self._outbox = report, outbox
        self._poll = 0.2 if plan.poll is None else plan.poll
        self._archive = None
        self._moving = Lock()
        self._leave_out = [os.path.realpath(run.folder)]
        stamps = {row["image"]: FileStamp(**row["file"]) for row in rows if "file" in row}
        if plan.move_to is not None:
            self._archive = Archive(plan.move_to, plan.folder, rows)
            self._leave_out.append(os.path.realpath(plan.move_to))
            stamps |= {source: move.stamp for source, move in self._archive.pending.items()}
        else:
            stamps |= {
                row["source"]: FileStamp(**row["file"])
                for row in rows
                if "file" in row and "source" in row
            }
        self._arrivals = Arrivals(stamps, plan.settle, plan.patience)
        self._looked, self._took = -1e9, 0.0  # when the last scan ended, and its seconds

    def go_on(self, alarm: Alarm) -> None:
        """Inspect until stopped, and close the alarm."""
        watched = _identity(self._plan.folder)
        try:
            while not self._stopped():
                self._look()
                if _identity(self._plan.folder) != watched:  # the system has lost sight of it
                    alarm.close()
                    alarm = Timer()
                self._inspect_or_wait(alarm)
        finally:
            alarm.close()

    def _inspect_or_wait(self, alarm: Alarm) -> None:
        if batch := self._take():
            batches = self._batches(batch)
            inspect_batches(self._inspector, batches, self._keep, folders_may_go=True)
            return
        # Scans take half of the time at most, however many files there are.
        least = max(self._poll, self._took)
        quiet = alarm.hears and not self._arrivals.waiting
        alarm.wait(least, max(least, _QUIET) if quiet else least, self._stopped)

    def _batches(self, batch: list[str]) -> Iterator[list[str]]:
        while batch:
            yield batch
            if self._stopped():
                return
            if monotonic() - self._looked > max(self._poll, self._took):
                self._look()
            batch = self._take()

    def _look(self) -> None:
        """Scan the folder. While it cannot be read, as on a lost share, nothing is forgotten."""
        began = monotonic()
        if self._archive is not None:
            self._move()
        try:
            files = scan(self._plan.folder, self._leave_out)
        except (ImageError, OSError) as error:
            self._status.note("folder", f"{error} Waiting for it.")
        else:
            self._status.note("folder", None)
            self._arrivals.see(files, monotonic())
        self._looked = monotonic()
        self._took = self._looked - began
        self._status.waiting = self._arrivals.waiting
        self._status.unsent = self._outbox.waiting if self._outbox else 0

    def _take(self) -> list[str]:
        """Return the next photos to inspect: complete ones, with bytes that have no verdict."""
        batch: list[str] = []
        while len(batch) < self._inspector.batch_size:
            now = monotonic()
            taken = self._arrivals.take(self._inspector.batch_size - len(batch), now)
            if not taken:
                break
            for path in taken:
                known = self._arrivals.stamp(path)
                with suppress(OSError):
                    if known is not None and (today := known.current(path)) is not None:
                        self._arrivals.finish(path, today)
                        continue
                if has_unwritten_end(path) and self._arrivals.may_come(path, now):
                    self._arrivals.put_back(path)
                    continue
                batch.append(path)
        return batch

    def _keep(
        self,
        image: str,
        stamp: FileStamp | None,
        photo: Image.Image | None,
        outcome: Inspection | FlawsightError,
    ) -> None:
        since = self._arrivals.complete_since(image)
        if isinstance(outcome, FlawsightError):
            if isinstance(outcome, ImageError):
                if not os.path.exists(image):
                    self._arrivals.drop(image)
                    return
                if self._arrivals.may_come(image, monotonic()):
                    self._arrivals.put_back(image)
                    return
            row = self._run.add_error(image, outcome)
            self._arrivals.fail(image)
        else:
            assert photo is not None
            assert stamp is not None
            row = self._add(image, stamp, photo, outcome)
        self._status.add(row, monotonic() - since)
        self._report.touch()
        self._on_row(row)

    def _add(self, image: str, stamp: FileStamp, photo: Image.Image, inspection: Inspection) -> Row:
        path = image
        details: Row = {}
        if self._archive is not None:
            path = self._archive.target(image, inspection.pred_label)
            details = {"source": image}
        outbox = self._outbox if inspection.pred_label else None
        if outbox is not None:
            outbox.announce(path, stamp.crc32)
        row = self._run.add(replace(inspection, image=path), photo, stamp, details)
        self._arrivals.finish(image, stamp)
        if self._archive is not None:
            with self._moving:
                self._archive.pending[image] = Move(image, path, stamp)
            self._move()
        if outbox is not None:
            outbox.send(row)
        return row

    def _move(self) -> None:
        assert self._archive is not None
        with self._moving:
            moved, reason = self._archive.move_all()
            for source in moved:
                self._arrivals.forget(source)
        self._status.note("moving", reason)
