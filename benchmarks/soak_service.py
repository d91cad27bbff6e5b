"""Memory, open files and latency of the service over many requests, with faults; see soak.py.

One client sends blocks of the same mix: inspections, reads, reviews, malformed requests, and
clients that stall. In each block the store is read-only and then locked for a moment, a stored file
is torn, and eight photos come at once. At half time and at the end the service is killed with
SIGKILL and started again on the same store, and all that it acknowledged is looked for.
"""

import json
import random
import socket
import sqlite3
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path

import numpy as np
import psutil
from pages import Cell
from serve_load import SAMPLES, start

from flawsight.serve.open_database import DATABASE

COLUMNS = ["what", "after warm-up", "at the end", "ratio", "at most"]
ONE = "/v1/inspections/{}"
FILES = ("/view", "/overlay.png", "/map.png", "/map.npz", "/thumb.jpg", "/photo")
MIX = {"inspect": 10, "read": 54, "monitor": 10, "review": 6, "malformed": 12, "stall": 8}
PATHS = {"read": ["/v1/inspections", ONE, *(ONE + file for file in FILES)],
         "monitor": ["/readyz", "/metrics"]}  # fmt: skip
JSON = "application/json"
MALFORMED = [
    ("application/json; charset=klingon", b"{}", 415),
    (JSON, b'{"images": [{"data": "\xff"}]}', 422),
    (JSON, b'{"images": [{"data": "?"}]}', 422),
    (JSON, b'{"images": [', 422),
    ("multipart/form-data", b"no boundary", 400),
    ("image/jpeg", b"text", 422),
    ("image/x-portable-pixmap", b"P6 40000 40000 255\n", 422),
]
HEAD = b"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
BODY = HEAD + b"Content-Length: 9999\r\n\r\n"
# What a client sends at first, and with each later request.
STALLS = [(b"", b""), (b"\0\r\n\r\n", b""), (HEAD, b""), (HEAD, b"x"), (BODY, b""), (BODY, b"x")]


class Soak:
    """A service, and a client that remembers what was acknowledged."""

    def __init__(self, store: Path) -> None:
        self.store, self.dice = store, random.Random(0)
        self.acknowledged: dict[str, bytes] = {}
        self.reviews: dict[str, str] = {}
        self.stalled: deque[tuple[socket.socket, bytes]] = deque()
        self.seconds: list[defaultdict[str, list[float]]] = []  # of each block, by request
        self.sizes: list[tuple[float, int]] = []  # MiB and open files after each block
        self.statuses: Counter[int] = Counter()
        self.unintended: Counter[str] = Counter()
        self.start()
        # The service answers with another status where the response holds no answer.
        posts = {path: self.client.post(path)[0] for path in SAMPLES}
        self.photos = [path.read_bytes() for path, status in posts.items() if status == 200]

    def start(self) -> None:
        """Start the service, and look for what it acknowledged before."""
        self.process, self.client = start(self.store, 8, "--preset", "paper")
        rows = self.client.stored()
        for id, photo in self.acknowledged.items():
            if id not in rows or self.client.ask("GET", f"{ONE}/photo".format(id)) != (200, photo):
                self.unintended["lost inspection"] += 1
            elif (rows[id]["review"] or {}).get("verdict") != self.reviews.get(id):
                self.unintended["lost review"] += 1

    def ask(
        self, name: str, method: str, path: str, body: bytes | None = None, kind: str = JSON,
        expected: tuple[int, ...] = (200,),
    ) -> bytes | None:  # fmt: skip
        """Send a request; return the body of a success. Status 0: no response."""
        began = time.perf_counter()
        try:
            status, content = self.client.ask(method, path, body, kind)
        except (OSError, HTTPException):
            status, content = 0, b""
        self.seconds[-1][name].append(time.perf_counter() - began)
        self.statuses[status] += 1
        if status not in expected:
            self.unintended[f"{status} for {name} {path.rpartition('/')[2]}"] += 1
        return content if status == 200 else None

    def any_id(self) -> str:
        """Return the id of an acknowledged inspection."""
        return self.dice.choice(list(self.acknowledged))

    def inspect(self, name: str = "inspect", *expected: int) -> None:
        """Post a photo."""
        photo = self.dice.choice(self.photos)
        content = self.ask(name, "POST", "/v1/inspect", photo, "image/jpeg", expected or (200,))
        if content is not None:
            self.acknowledged[json.loads(content)["results"][0]["id"]] = photo

    def get(self, what: str, name: str) -> None:
        """Get something of PATHS."""
        self.ask(name, "GET", self.dice.choice(PATHS[what]).format(self.any_id()))

    def review(self) -> None:
        """Mark a verdict."""
        id, verdict = self.any_id(), self.dice.choice(["right", "wrong"])
        body = json.dumps({"verdict": verdict}).encode()
        if self.ask("review", "PUT", f"{ONE}/review".format(id), body) is not None:
            self.reviews[id] = verdict

    def malformed(self) -> None:
        """Send what must be refused."""
        kind, body, status = self.dice.choice(MALFORMED)
        self.ask("malformed", "POST", "/v1/inspect", body, kind, (status,))

    def stall(self) -> None:
        """Open a connection and send too little; every second one is closed at once."""
        sent, drip = self.dice.choice(STALLS)
        self.stalled.append((socket.create_connection(("127.0.0.1", self.client.port)), drip))
        self.stalled[-1][0].sendall(sent)
        if self.dice.random() < 0.5:
            self.stalled.pop()[0].close()
        elif len(self.stalled) > 20:
            self.stalled.popleft()[0].close()

    def read_only(self) -> None:
        """Make the store read-only for a moment."""
        folders = [self.store, *self.store.glob("files"), *self.store.glob("files/??")]
        for mode, status in ((0o555, 503), (0o755, 200)):
            for folder in folders:
                folder.chmod(mode)
            self.inspect("fault", status)
            self.ask("fault", "GET", "/readyz", expected=(status,))
            self.get("read", "fault")

    def locked(self, briefly: bool) -> None:
        """Lock the database, for a second or until an upload is refused."""
        with closing(sqlite3.connect(self.store / DATABASE, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            if briefly:
                threading.Timer(1, other.rollback).start()
            self.get("read", "fault")
            self.inspect("fault", 200 if briefly else 503)

    def torn(self) -> None:
        """Cut a stored file in half, and mend it."""
        id = self.any_id()
        path = self.store / f"files/{id[-2:]}/{id}/arrays.npz"
        whole = path.read_bytes()
        for content, status in ((whole[: len(whole) // 2], 503), (whole, 200)):
            path.write_bytes(content)
            for file in ("/view", "/map.png", "/thumb.jpg"):
                self.ask("fault", "GET", ONE.format(id) + file, expected=(status,))

    def at_once(self, kill: bool = False) -> None:
        """Post eight photos and read at once; kill the service meanwhile."""
        with ThreadPoolExecutor(16) as clients:
            for _ in range(8):
                clients.submit(self.inspect, "at once", 200, *([0] if kill else []))
                if not kill:
                    clients.map(lambda _: self.get("read", "at once"), range(4))
            if kill:
                time.sleep(self.dice.random())
                self.process.kill()
                self.process.wait()

    def block(self, size: int, briefly: bool) -> None:
        """Send a block of requests, and measure the service when they are over."""
        self.seconds.append(defaultdict(list))
        self.at_once()
        send: dict[str, Callable[[], None]] = {
            "inspect": self.inspect, "review": self.review, "malformed": self.malformed,
            "read": lambda: self.get("read", "read"), "stall": self.stall,
            "monitor": lambda: self.get("monitor", "monitor"),
            "read-only": self.read_only, "locked": lambda: self.locked(briefly), "torn": self.torn,
        }  # fmt: skip
        mix = random.Random(1).choices(list(MIX), list(MIX.values()), k=size)
        for share, fault in ((3, "torn"), (2, "locked"), (1, "read-only")):
            mix.insert(share * size // 4, fault)
        for name in mix:
            send[name]()
            for connection, drip in self.stalled:
                with suppress(OSError):  # the service has closed it
                    connection.send(drip)
        while self.stalled:
            self.stalled.pop()[0].close()
        time.sleep(1)
        process = psutil.Process(self.process.pid)
        self.sizes.append((process.memory_info().rss / 2**20, process.num_fds()))


def soak_service(requests: int) -> tuple[list[list[Cell]], str, list[str]]:
    """Return rows of COLUMNS, a note, and what is not as it should be."""
    size = max(20, requests // 20)
    blocks = max(2, requests // size)
    half = blocks // 2
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(Path(name, "store"))
        try:
            for block in range(blocks):
                soak.block(size, briefly=block % 5 > 0)
                print(f"block {block}: %.0f MiB, %d files" % soak.sizes[-1], flush=True)
                if block + 1 in (half, blocks):
                    soak.at_once(kill=True)
                    soak.start()
        finally:
            soak.process.kill()
            soak.process.wait()

    def p99(block: int, name: str) -> float:
        return 1e3 * float(np.quantile(soak.seconds[block][name], 0.99))

    compared = [
        (f"{what}, {life}", soak.sizes[first][index], soak.sizes[last][index], 1.1)
        for life, first, last in (("until the kill", 0, half - 1), ("after it", half, -1))
        for index, what in enumerate(("memory, MiB", "open files"))
    ]
    for name, what in {"inspect": "an inspection", "read": "a read"}.items():
        compared.append((f"p99 of {what}, ms", p99(min(1, half - 1), name), p99(-1, name), 1.2))
    rows: list[list[Cell]] = [[what, a, b, b / a, most] for what, a, b, most in compared]
    answered = ", ".join(
        f"{soak.statuses[status]:,} × {status}" for status in sorted(soak.statuses)
    )
    note = (
        f"{blocks * size:,} requests and the faults: {answered} (0: killed). "
        f"{len(soak.acknowledged):,} inspections and {len(soak.reviews):,} reviews acknowledged. "
        f"Unintended or lost: {dict(soak.unintended) or 'nothing'}. p99 of {size} requests. "
        "Bundled model, preset `paper`."
    )
    missed = [what for what, before, after, most in compared if after > most * before]
    return rows, note, [*soak.unintended, *missed]
