"""A stand-in for the Inspector, and a service that runs it in a process of its own."""

import base64
import http.client
import io
import json
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flawsight.errors import FlawsightError
from flawsight.inspection import Inspection, ReasoningToken
from helpers.forked import Forked

BATCH = 4


def picture(width: int = 24, height: int = 16, kind: str = "PNG", grey: int = 0) -> bytes:
    content = io.BytesIO()
    pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3) + grey
    Image.fromarray(pixels.astype(np.uint8)).save(content, kind)
    return content.getvalue()


def stand_in(image: Image.Image) -> Inspection:
    """An inspection identified by the image size; for odd widths the verdict disagrees."""
    defective = image.width % 2 == 0
    return Inspection(
        image=None,
        image_size=(image.height, image.width),
        pred_label=defective,
        pred_score=image.width % 100 / 100,
        anomaly_map=np.full((image.height, image.width), 0.25, np.float32),
        answer="Yes",
        explanation="A <b>dark</b> scratch\0.",
        disagreements=() if defective else ("verdict/answer", "verdict/reasoning"),
        tokens=(ReasoningToken("A", 0, 1, 0.1, 0.2, True, 1.0),),
        token_maps=np.ones((1, 2, 3), np.float32),
        timings={"generate": 0.01},
        map_peak=0.25,
    )


def inspect_batch(images: Sequence[Image.Image]) -> list[Inspection | FlawsightError]:
    """Decode and inspect; of an image 13 pixels wide the model raises."""
    from flawsight.io.images import prepare_image

    outcomes: list[Inspection | FlawsightError] = []
    for image in images:
        try:
            prepared = prepare_image(image)
        except FlawsightError as error:
            outcomes.append(error)
            continue
        if prepared.width == 13:
            raise RuntimeError("a secret of the model")
        outcomes.append(stand_in(prepared))
    return outcomes


def as_json(*contents: bytes, **more: Any) -> bytes:
    images = [{"data": base64.b64encode(content).decode()} for content in contents]
    return json.dumps({"images": images, **more}).encode()


def not_ready(client: Any, says: str) -> None:
    """Check that neither readyz nor an upload is answered as if all were well."""
    body = as_json(picture(20))
    for answer in (
        client.get("/readyz"),
        client.post("/v1/inspect", content=body, headers={"Content-Type": "application/json"}),
    ):
        assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "StoreError")
        assert says in answer.json()["error"]["message"]
        assert int(answer.headers["retry-after"]) >= 1


@dataclass
class Service:
    process: "Forked | subprocess.Popen[bytes]"
    port: int

    def request(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        # As proxies do; a client refused while it sends must still get the response.
        headers = {"Connection": "close"} | ({"Content-Type": "application/json"} if body else {})
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, dict(answer.headers), json.loads(content)
        finally:
            connection.close()

    def post(self, *contents: bytes) -> tuple[int, dict[str, str], Any]:
        return self.request("POST", "/v1/inspect", as_json(*contents))

    def resident(self) -> float:
        """Memory in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    def gauge(self, name: str) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


@contextmanager
def serving(
    store: Path | str,
    seconds: float = 0.0,
    slots: int = 8,
    file_bytes: int | None = None,
    files: Path | None = None,
    deadline: float = 60.0,
    references: Mapping[str, Path] = {},
) -> Iterator[Service]:
    """Start the service. No file of it may exceed `file_bytes`, as on a full disk."""
    files = files or Path(store) / "files"
    log_path = (files if isinstance(store, str) else store).parent / "serving.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log_path.touch()
    process = Forked(log_path, serve, store, files, port, seconds, slots, deadline, references)
    if file_bytes is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    service = Service(process, port)
    try:
        end = time.monotonic() + 300
        while True:
            try:
                service.request("GET", "/readyz")
                break
            except OSError:
                log_text = log_path.read_text()
                assert process.poll() is None, log_text
                assert time.monotonic() < end, log_text
                time.sleep(0.1)
        yield service
    finally:
        process.kill()
        process.wait()


@contextmanager
def serving_here(
    store: Path | str,
    model: Any = inspect_batch,
    files: Path | None = None,
    options: Mapping[str, Any] = {},
    **limits: Any,
) -> Iterator[int]:
    """Serve in a thread of this process; yield the port. The options are those of create_app."""
    from flawsight.serve.app import create_app
    from flawsight.serve.limits import Limits
    from flawsight.serve.server import make_server
    from flawsight.serve.store import Store

    bounds = Limits(**{"rate": 0, **limits})
    app = create_app(model, BATCH, Store(str(store), files), bounds, **options)
    server = make_server(app, "127.0.0.1", 0, bounds)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def serve(
    store: Path | str,
    files: Path,
    port: int,
    seconds: float,
    slots: int,
    deadline: float,
    references: Mapping[str, Path] = {},
) -> None:
    """Serve in this process, until a signal stops it."""
    from flawsight.serve.app import create_app
    from flawsight.serve.limits import Limits
    from flawsight.serve.server import serve_app
    from flawsight.serve.store import Store

    options = {}
    if references:
        from helpers.good_photos import references_of

        options["references"] = references_of(**references)

    def slowly(images: Sequence[Image.Image]) -> list[Inspection | FlawsightError]:
        time.sleep(seconds)
        return inspect_batch(images)

    limits = Limits(slots=slots, images=min(8, slots), rate=0, deadline=deadline)
    app = create_app(slowly, BATCH, Store(str(store), files), limits, **options)
    serve_app(app, "127.0.0.1", port, limits)
