"""A watch with a stand-in for the Inspector: bright photos are defective."""

import hashlib
import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flawsight.batches import PreparedBatch, TracedBatch
from flawsight.errors import ImageError
from flawsight.io.file_stamp import read_stamped
from flawsight.runs.folder import RunFolder
from flawsight.watch.hooks import open_hook
from flawsight.watch.watch_folder import Plan, watch
from flawsight.watch.watch_status import WatchStatus
from helpers.bundled import FEW
from helpers.serving import stand_in
from helpers.waiting import wait_until

ABOUT = {"model": {"name": "stand-in"}}
BRIGHT = 150


def photo(seed: int, defective: bool = False, kind: str = "PNG", side: int = 40) -> bytes:
    """A noisy photo as a file."""
    low = BRIGHT if defective else 20
    pixels = np.random.default_rng(seed).integers(low, low + 80, (side, side, 3))
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, kind)
    return content.getvalue()


def seen(content: bytes) -> str:
    """What the stand-in says of a photo: a hash of its pixels."""
    return _hash(Image.open(io.BytesIO(content)).convert("RGB"))


def _hash(image: Image.Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()[:16]


class StandIn:
    """An Inspector without a model. `seconds` is what each batch takes."""

    def __init__(self, batch_size: int = 4, seconds: float = 0.0) -> None:
        self.batch_size, self.seconds = batch_size, seconds
        self.settings, self.generator, self.reference = FEW, None, None

    def prepare(self, images: Sequence[str]) -> PreparedBatch:
        read: list[Any] = []
        stamps: list[Any] = []
        for image in images:
            try:
                one, stamp = read_stamped(image)
                read.append(one.image)
                stamps.append(stamp)
            except ImageError as error:
                read.append(error)
                stamps.append(None)
        return PreparedBatch(images, read, stamps, [], [], [], [], [], None)

    def trace(self, prepared: PreparedBatch) -> TracedBatch:
        time.sleep(self.seconds)
        return TracedBatch(prepared, [], self.seconds)

    def localize(self, traced: TracedBatch) -> Iterator[Any]:
        prepared = traced.prepared
        for given, image in zip(prepared.given, prepared.images, strict=True):
            if isinstance(image, Exception):
                yield None, image
            else:
                yield image, replace(
                    stand_in(image), image=given, pred_label=float(np.mean(image)) > BRIGHT,
                    explanation=_hash(image), disagreements=(),
                )  # fmt: skip


@dataclass
class Watching:
    """A watch in a thread; `rows` are those it has written."""

    out: Path
    status: WatchStatus = field(default_factory=WatchStatus)
    rows: list[dict[str, Any]] = field(default_factory=list)
    stopping: bool = False

    def wait_for(self, count: int, timeout: float = 20.0) -> list[dict[str, Any]]:
        """Wait for so many rows, and a little for more than that."""
        wait_until(lambda: len(self.rows) >= count, timeout, lambda: self.rows)
        time.sleep(0.3)
        assert len(self.rows) == count, self.rows
        return self.rows

    def verdicts(self) -> dict[str, str]:
        """The hash of the pixels that each row is of, by the photo's name."""
        return {Path(row["image"]).name: row.get("explanation", "") for row in self.rows}


@contextmanager
def watching(
    folder: Path, out: Path, inspector: StandIn | None = None, **plan: Any
) -> Iterator[Watching]:
    """Watch a folder in a thread, with short times."""
    plan = {"poll": 0.02, "settle": 0.1, "patience": 1.5} | plan
    state = Watching(out)
    failed: list[BaseException] = []

    def go() -> None:
        try:
            run = RunFolder(out, ABOUT)
            watch(
                Plan(folder, **plan), run, inspector or StandIn(),  # type: ignore[arg-type]
                lambda: state.stopping, state.rows.append, state.status,
            )  # fmt: skip
            run._lock.release()  # as the end of a process does
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield state
    finally:
        state.stopping = True
        thread.join(60)
        assert not thread.is_alive()
        if failed:
            raise failed[0]


def watch_until_killed(folder: str, out: str, log: str, move_to: str, url: str) -> None:
    """Watch in a process of its own, and log each verdict; SIGTERM ends it."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))

    def on_row(row: dict[str, Any]) -> None:
        with open(log, "ab", buffering=0) as file:
            file.write((json.dumps([row.get("source", row["image"]), row.get("error")])
                        + "\n").encode())  # fmt: skip
            os.fsync(file.fileno())

    plan = Plan(
        Path(folder), Path(move_to) if move_to else None, open_hook(url) if url else None,
        poll=0.02, settle=0.1, patience=1.5,
    )  # fmt: skip
    inspector: Any = StandIn(2, 0.02)
    watch(plan, RunFolder(Path(out), ABOUT), inspector, lambda: bool(stopping), on_row)


@contextmanager
def web_server(answers: Sequence[int] = ()) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers and then 200; yield its URL and the requests' JSON."""
    codes, received = iter(answers), list[dict[str, Any]]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            code = next(codes, 200)
            received.append({"code": code, "headers": dict(self.headers), "row": body})
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/reject", received
    finally:
        server.shutdown()
        server.server_close()
