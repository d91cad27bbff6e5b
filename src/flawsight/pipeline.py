"""Three stages of batch work that overlap: what comes before the model, the model, what follows."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
    each in a thread of its own. At most one batch waits at either side, so memory stays flat.

    Raises:
        Exception: the first one of any stage. What was made before it has been finished.
    """
    with ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as after:
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
