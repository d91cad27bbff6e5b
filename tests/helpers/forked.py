"""Processes forked from one that has imported torch and flawsight: to import them takes seconds."""

import multiprocessing
import os
import runpy
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "flawsight.cgro.trainer",
        "flawsight.inspector",
        "flawsight.serve.app",
        "flawsight.serve.server",
        "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    ]
)


class Forked:
    """A running process, with the methods of `subprocess.Popen` that tests need."""

    def __init__(
        self, log: Path, target: Callable[..., object], *arguments: Any, **environment: str
    ) -> None:
        self._process = _CONTEXT.Process(target=_run, args=(log, environment, target, arguments))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, negative after a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end, and return as `poll` does."""
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


def _run(
    log: Path,
    environment: Mapping[str, str],
    target: Callable[..., object],
    arguments: Sequence[Any],
) -> None:
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    # What a shell runs in the background ignores SIGINT, and so does all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    target(*arguments)


@contextmanager
def ranks(log: Path, target: Callable[..., object], *arguments: Any) -> Iterator[list[Forked]]:
    """Start what `accelerate launch --num_processes 2` would; kill what still runs at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": port}  # fmt: skip
    started = [
        Forked(log, target, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank in range(2)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def command(*words: str) -> None:
    """Run `python -m flawsight` with these words."""
    sys.argv = ["flawsight", *words]
    runpy.run_module("flawsight", run_name="__main__", alter_sys=True)


def script(path: Path, *words: str) -> None:
    """Run a script with these words."""
    sys.argv = [str(path), *words]
    runpy.run_path(str(path), run_name="__main__")
