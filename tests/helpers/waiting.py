"""Wait until something is so."""

import time
from collections.abc import Callable


def wait_until(
    true: Callable[[], object], timeout: float = 20.0, say: Callable[[], object] = lambda: ""
) -> None:
    ends = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < ends, say()
        time.sleep(0.01)
