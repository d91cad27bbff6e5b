"""Overlap the three stages of batch work: before the model, the model, after it."""

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
    """Call finish(run(prepare(batch))) for each batch, in order.

    `run` is called in this thread. Meanwhile the next batch is prepared and the last one finished,
    each in its own thread, in which torch uses one core. At most one batch waits on either side, so
    memory does not grow.

    Raises:
        Exception: the first of any stage. Earlier batches have been finished.
    """
    # With torch workers for those threads too, OpenMP would have more threads than cores, and the
    # workers of this thread would sleep after each of their many small tasks (docs/performance.md).
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
        torch.set_num_threads(threads)  # for threads that start from now on


def _helper() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
