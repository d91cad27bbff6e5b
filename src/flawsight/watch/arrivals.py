"""Which files of a watched folder are complete and have no verdict yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from ..io.file_stamp import FileStamp

# What changes with the content of a file: its size in bytes, and when it was last written and
# changed, in ns since 1970.
Signature = tuple[int, int, int | None]


@dataclass(frozen=True)
class _Waiting:
    """A file without a verdict: since when it has been so, and not to be read before when."""

    signature: Signature
    since: float
    not_before: float


def signature_of(stamp: FileStamp) -> Signature | None:
    """Return the signature of a file with a stamp; None if its times are unknown."""
    if stamp.modified_ns is None:
        return None
    return stamp.bytes, stamp.modified_ns, stamp.changed_ns


class Arrivals:
    """The files of a folder on their way to a verdict. It may be used by several threads.

    All times are seconds of one monotonic clock, so those of another machine do not matter.

    Args:
        done: the stamps of files that have a verdict.
        settle: for how many seconds size and times of a file must not change before it is read.
        patience: for how many seconds after that a file that cannot be read may still be coming.
    """

    def __init__(
        self, done: Mapping[str, FileStamp], settle: float = 0.4, patience: float = 10.0
    ) -> None:
        self._stamps = dict(done)
        self._settled = {path: signature_of(stamp) for path, stamp in done.items()}
        self._waiting: dict[str, _Waiting] = {}
        self._taken: dict[str, _Waiting] = {}
        self._settle, self._patience = settle, patience
        self._lock = Lock()

    def see(self, files: Mapping[str, Signature], now: float) -> None:
        """Note all files that the folder holds now. Those that have gone are dropped."""
        with self._lock:
            for path in self._waiting.keys() - files.keys():
                del self._waiting[path]
            changed = []
            for path, signature in files.items():
                if self._settled.get(path) == signature:
                    self._waiting.pop(path, None)
                elif path not in self._waiting or self._waiting[path].signature != signature:
                    changed.append((signature[1], path))
            for _, path in sorted(changed):  # the oldest is inspected first
                self._waiting.pop(path, None)
                self._waiting[path] = _Waiting(files[path], now, now + self._settle)

    def take(self, count: int, now: float) -> list[str]:
        """Return up to `count` files that are to be read now, and are nobody else's."""
        with self._lock:
            found: list[str] = []
            for path, file in self._waiting.items():
                if len(found) == count:
                    break
                if file.not_before <= now and path not in self._taken:
                    found.append(path)
                    self._taken[path] = file
            return found

    @property
    def waiting(self) -> int:
        """How many files have no verdict."""
        with self._lock:
            return len(self._waiting)

    def stamp(self, path: str) -> FileStamp | None:
        """Return the stamp of the bytes under this path that have a verdict, if any have."""
        with self._lock:
            return self._stamps.get(path)

    def complete_since(self, path: str) -> float:
        """Return when a taken file was first seen as it is."""
        with self._lock:
            return self._taken[path].since

    def may_come(self, path: str, now: float) -> bool:
        """Whether a taken file that cannot be read may still be being written."""
        with self._lock:
            file, taken = self._waiting.get(path), self._taken[path]
            unchanged = file is not None and file.signature == taken.signature
            return not unchanged or now < taken.since + self._settle + self._patience

    def put_back(self, path: str) -> None:
        """Let a taken file wait until it changes or its patience ends."""
        with self._lock:
            taken = self._taken.pop(path)
            file = self._waiting.get(path)
            if file is not None and file.signature == taken.signature:
                end = taken.since + self._settle + self._patience
                self._waiting[path] = _Waiting(file.signature, file.since, end)

    def finish(self, path: str, stamp: FileStamp) -> None:
        """Note that a taken file has a verdict on bytes with a stamp."""
        with self._lock:
            self._stamps[path] = stamp
            self._end(path, signature_of(stamp))

    def fail(self, path: str) -> None:
        """Note that a taken file cannot be read; it is read again when it changes."""
        with self._lock:
            self._end(path, self._taken[path].signature)

    def drop(self, path: str) -> None:
        """Let go of a taken file that has gone; a verdict on earlier bytes stays known."""
        with self._lock:
            self._taken.pop(path, None)
            self._waiting.pop(path, None)

    def forget(self, path: str) -> None:
        """Forget the verdict on a file that has been moved: the same bytes may come once more."""
        with self._lock:
            self._stamps.pop(path, None)
            self._settled.pop(path, None)

    def _end(self, path: str, signature: Signature | None) -> None:
        self._taken.pop(path, None)
        self._settled[path] = signature
        file = self._waiting.get(path)
        if file is not None and file.signature == signature:
            del self._waiting[path]
