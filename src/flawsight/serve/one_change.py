"""Changes of what a running service inspects with: one at a time, while inspections go on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..errors import BusyError
from .service import Service

T = TypeVar("T")


async def alone(service: Service, change: Callable[[], T]) -> T:
    """Make a change in a thread of its own when no other one runs; it ends even if nobody waits.

    Raises:
        BusyError: if another change takes too long, or the service is stopping.
    """
    if not service.batcher.alive:
        raise BusyError("The service is stopping.")
    try:
        async with asyncio.timeout(service.limits.deadline):
            await service.changing.acquire()
    except TimeoutError as error:
        raise BusyError("Another change is being made; try again later.") from error
    # A thread that ends takes torch's OpenMP workers with it, see cli/serve_command.py.
    thread = ThreadPoolExecutor(1, "change")
    running = asyncio.get_running_loop().run_in_executor(thread, change)
    thread.shutdown(wait=False)

    def end(done: Any) -> None:
        done.cancelled() or done.exception()  # is retrieved
        service.changing.release()

    running.add_done_callback(end)
    return await asyncio.shield(running)
