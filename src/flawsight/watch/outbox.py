"""Deliver the rows of defective photos to a hook, each at least once, also across a kill.

`outbox.jsonl` in the run folder has a line of a photo before its row is written, and one after its
delivery. What has the first line and the row, but not the second, is delivered at the next start.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Condition, Thread
from time import monotonic

from ..errors import RunFolderError
from ..io.files import sync_files, write_atomically, writing_to
from ..runs.read import Row
from .hooks import Hook, HookError

FILE = "outbox.jsonl"
_LONGEST_PAUSE = 60.0  # seconds between two tries


class Outbox:
    """Sends rows in order, in a thread of its own, and tries again until each is taken.

    Args:
        folder: of the run, locked by this process.
        hook: takes the rows.
        rows: of the run so far.
        note: is told what is wrong with the hook, and None when it works again.
        first_pause: seconds until the second try; each further pause is twice as long.

    Raises:
        RunFolderError: if the file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        hook: Hook,
        rows: Iterable[Row] = (),
        note: Callable[[str | None], None] = lambda text: None,
        first_pause: float = 1.0,
    ) -> None:
        self._folder, self._path = folder, folder / FILE
        self._hook, self._note = hook, note
        self._first_pause = first_pause
        self._rows: deque[Row] = deque()
        self._change = Condition()
        self._closing = False
        self.given_up = 0
        owed = self._owed()
        self._rows.extend(row for row in rows if _key(row) in owed and row.get("pred_label"))
        lines = [_line("queued", *_key(row)) for row in self._rows]
        with writing_to(folder):
            write_atomically(self._path, "".join(lines).encode())
            sync_files([self._path])
        self._thread = Thread(target=self._send_all, name="outbox", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many rows are not delivered."""
        return len(self._rows)

    def announce(self, image: str, crc32: str) -> None:
        """Note that the row of a photo is about to be written, and then to be sent.

        Raises:
            RunFolderError: if that cannot be written.
        """
        self._append(_line("queued", image, crc32))

    def send(self, row: Row) -> None:
        """Send an announced row that is written now."""
        with self._change:
            self._rows.append(row)
            self._change.notify()

    def close(self, wait: float = 5.0) -> int:
        """Stop after `wait` seconds at most; return how many rows are left for the next start."""
        ends = monotonic() + wait
        with self._change:
            self._change.wait_for(lambda: not self._rows, max(0.0, ends - monotonic()))
            self._closing = True
            self._change.notify_all()
        self._thread.join(max(0.1, ends - monotonic()))
        return len(self._rows)

    def _send_all(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._rows or self._closing)
                if self._closing:
                    return
                row = self._rows[0]
            if not self._deliver(row):
                return
            with self._change:
                self._rows.popleft()
                self._change.notify_all()

    def _deliver(self, row: Row) -> bool:
        """Send a row until it is taken or refused for good; False if closed before."""
        content, pause, number = json.dumps(row).encode(), self._first_pause, 0
        while True:
            number += 1
            try:
                self._hook.send(content)
            except HookError as error:
                again = not error.permanent and number != self._hook.tries
                self._note(f"{error}; {'trying again' if again else 'given up'}.")
                if again:
                    with self._change:
                        if self._change.wait_for(lambda: self._closing, pause):
                            return False
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                self.given_up += 1
            else:
                self._note(None)
            try:
                self._append(_line("done", *_key(row)))
            except RunFolderError as error:  # it is sent once more at the next start
                self._note(str(error))
            return True

    def _owed(self) -> set[tuple[str, str]]:
        """Return the photos that are announced but not done."""
        owed: set[tuple[str, str]] = set()
        content = (
            self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        )
        for line in content.splitlines():
            try:
                about = json.loads(line)
                key = (str(about["image"]), str(about["crc32"]))
            except (ValueError, KeyError, TypeError):  # a killed process leaves half a line
                continue
            (owed.add if about.get("state") == "queued" else owed.discard)(key)
        return owed

    def _append(self, line: str) -> None:
        with writing_to(self._folder), self._path.open("ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())


def _key(row: Row) -> tuple[str, str]:
    return row["image"], (row.get("file") or {}).get("crc32", "")


def _line(state: str, image: str, crc32: str) -> str:
    return json.dumps({"state": state, "image": image, "crc32": crc32}) + "\n"
