"""The peak of the memory that a block of code needs."""

import threading
from typing import Any, Self

import psutil
import torch

EVERY_SECONDS = 0.005


class PeakMemory:
    """Measures the memory that is allocated inside a `with` block, beyond that before it.

    On a GPU it is exact. Elsewhere the memory of the process is sampled, which misses what was
    freed earlier and is used again.
    """

    def __init__(self, device: torch.device) -> None:
        self.peak_bytes = 0
        self._cuda = device if device.type == "cuda" else None
        self._process, self._stop = psutil.Process(), threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
        else:
            self._before = self._process.memory_info().rss
            self._sampler.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._cuda is not None:
            self.peak_bytes = torch.cuda.max_memory_allocated(self._cuda) - self._before
        else:
            self._stop.set()
            self._sampler.join()

    def _sample(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss - self._before)
