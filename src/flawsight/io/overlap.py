"""Three stages of batch work that overlap: what comes before the model, the model, what follows."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Batch = TypeVar("Batch")
Prepared = TypeVar("Prepared")
Made = TypeVar("Made")


def overlapped(
    batches: Iterable[Batch],
    prepare: Callable[[Batch], Prepared],
    run: Callable[[Prepared], Made],
    finish: Callable[[Made], None],
) -> None:
    """Do finish(run(prepare(batch))) for each batch, in order.

    `run` is called in this thread; the next batch is prepared and the last one finished meanwhile,
    each in a thread of its own, where torch uses one core. At most one batch waits at either side,
    so memory stays flat.

    Raises:
        Exception: the first one of any stage. What was made before it has been finished.
    """
    # Had torch workers for those threads too, OpenMP would count more than there are cores, and
    # those of this thread would sleep after each of their many small tasks (docs/performance.md).
    threads = torch.get_num_threads()
    try:
        with _helper() as before, _helper() as after:
            waiting = iter(batches)

            def submit_next() -> Future[Prepared] | None:
                for batch in waiting:
                    return before.submit(prepare, batch)
                return None

            coming, finishing = submit_next(), None
            while coming is not None:
                prepared = coming.result()
                coming = submit_next()
                made = run(prepared)
                if finishing is not None:
                    finishing.result()
                finishing = after.submit(finish, made)
            if finishing is not None:
                finishing.result()
    finally:
        torch.set_num_threads(threads)  # of threads that start from now on


def _helper() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
