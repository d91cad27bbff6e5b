"""What a watch has done so far, for whoever shows it."""

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runs.read import Row

_LATEST = 100


@dataclass
class WatchStatus:
    """Changes while the watch goes on.

    Attributes:
        before: rows of the run at the start.
        good, defective, failed: photos since then.
        waiting: photos without a verdict.
        unsent: rows that the hook has not taken.
        given_up: rows that it will never take.
        notes: what is wrong now, by what it is wrong with.
        delays: of the latest photos, seconds from the file's last change as seen to the verdict.
    """

    before: int = 0
    good: int = 0
    defective: int = 0
    failed: int = 0
    waiting: int = 0
    unsent: int = 0
    given_up: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=_LATEST))

    @property
    def done(self) -> int:
        """How many photos came to an end."""
        return self.good + self.defective + self.failed

    @property
    def usual_delay(self) -> float | None:
        """Median of the delays in seconds; None without any."""
        delays = list(self.delays)
        return median(delays) if delays else None

    def add(self, row: "Row", delay: float) -> None:
        """Count a row."""
        self.failed += "error" in row
        if "error" not in row:
            self.defective += bool(row["pred_label"])
            self.good += not row["pred_label"]
        self.delays.append(delay)

    def note(self, about: str, text: str | None) -> None:
        """Set what is wrong with something; None if nothing is."""
        if text is None:
            self.notes.pop(about, None)
        else:
            self.notes[about] = text
