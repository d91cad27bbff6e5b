"""Cost of the service compared with the bare Inspector, and overload; docs/results.md, "service".

    python benchmarks/serve_load.py [--rounds 5] [--images 160] [--batch-size 8] [--write]

The service runs in a process of its own on loopback; this one is the client and the bare Inspector.
They take turns, so other load on the machine affects both.
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from measure import machine, resident
from pages import markdown, parser_of, publish

from flawsight import Inspection, Inspector
from flawsight.cli.shell import keep_freed_memory

SLOTS = 32
SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.jpg"))
COLUMNS = ["what", "measured"]


class Client:
    """Posts image files to the service on loopback."""

    def __init__(self, port: int) -> None:
        self.port = port

    def post(self, photo: Path) -> tuple[int, float, Any]:
        """Return status, seconds and body."""
        began = time.perf_counter()
        status, content = self.ask("POST", "/v1/inspect", photo.read_bytes(), "image/jpeg")
        return status, time.perf_counter() - began, json.loads(content)

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = ""
    ) -> tuple[int, bytes]:
        """Return status and body; `kind` is the request's Content-Type."""
        headers = {} if body is None else {"Content-Type": kind}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def stored(self) -> dict[str, Any]:
        """Return all inspections in the store by their ids."""
        rows: dict[str, Any] = {}
        before = ""
        while True:
            page = json.loads(self.ask("GET", f"/v1/inspections?limit=500{before}")[1])
            rows |= {row["id"]: row for row in page["inspections"]}
            if page["next"] is None:
                return rows
            before = f"&before={page['next']}"


def start(store: Path, batch_size: int, *more: str) -> tuple["subprocess.Popen[bytes]", Client]:
    """Start the service, which must obey permissions even as root; wait until it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"--rate 0 --queue {SLOTS} --batch-size {batch_size} --port {port} --device cpu"
    no_root = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    command = [*no_root, sys.executable, "-m", "flawsight", "serve", "--store", str(store), *more]
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen([*command, *options.split()], stdout=nowhere, stderr=nowhere)
    client = Client(port)
    while True:
        try:
            client.ask("GET", "/readyz")
            return process, client
        except OSError:
            if process.poll() is not None:
                raise SystemExit("the service does not start") from None
            time.sleep(0.2)


def saturation(
    inspector: Inspector, client: Client, photos: list[Path], rounds: int
) -> list[list[str]]:
    """Return rows of both throughputs, with twice a batch of clients."""
    seconds: dict[str, list[float]] = {"bare": [], "service": []}
    latencies: list[float] = []
    clients = 2 * inspector.batch_size
    with ThreadPoolExecutor(clients) as posting:
        for round_ in range(rounds + 1):
            for name in ("bare", "service") if round_ % 2 else ("service", "bare"):
                began = time.perf_counter()
                answers = []
                if name == "bare":
                    inspector(photos)
                else:
                    answers = list(posting.map(client.post, photos))
                    assert {status for status, _, _ in answers} == {200}
                took = time.perf_counter() - began
                if round_:  # the first warms up
                    seconds[name].append(took / len(photos))
                    latencies += [one for _, one, _ in answers]
    ratios = [bare / ours for bare, ours in zip(seconds["bare"], seconds["service"], strict=True)]
    rate = {name: 1 / statistics.median(seconds[name]) for name in seconds}
    cuts = statistics.quantiles(latencies, n=100)
    return [
        [f"images per second, bare Inspector / service, {clients} clients",
         f"{rate['bare']:.1f} / {rate['service']:.1f}"],
        [f"throughput relative to the bare Inspector's, median of {rounds} rounds",
         f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"],
        ["time to an answer at saturation, p50 / p99", f"{cuts[49]:.2f} / {cuts[98]:.2f} s"],
    ]  # fmt: skip


def low_load(inspector: Inspector, client: Client, photos: list[Path]) -> list[list[str]]:
    """Return rows of the time that a single photo takes, in turns."""
    bare, service = [], []
    for photo in photos:
        began = time.perf_counter()
        inspector.inspect_batch([photo])  # what the service calls
        bare.append(time.perf_counter() - began)
        service.append(client.post(photo)[1])
    added = [ours - alone for alone, ours in zip(bare, service, strict=True)]
    ms = [1000 * statistics.median(times) for times in (bare, service, added)]
    return [
        [f"a single photo, bare / service, median of {len(photos)}",
         f"{ms[0]:.0f} / {ms[1]:.0f} ms"],
        ["what the service adds to a single photo, median", f"{ms[2]:.0f} ms"],
    ]  # fmt: skip


def flood(client: Client, pid: int, photos: list[Path], seconds: int) -> list[list[str]]:
    """Return rows of a load of ten times as many clients as there are slots."""
    before = resident(pid)
    peak = before
    end = time.perf_counter() + seconds
    statuses: Counter[int] = Counter()
    accepted: set[str] = set()

    def insist(index: int) -> None:
        while time.perf_counter() < end:
            status, _, body = client.post(photos[index % len(photos)])
            statuses[status] += 1
            if status == 200:
                accepted.add(body["results"][0]["id"])
            else:
                time.sleep(0.5)

    with ThreadPoolExecutor(10 * SLOTS) as clients:
        running = [clients.submit(insist, index) for index in range(10 * SLOTS)]
        while not all(one.done() for one in running):
            peak = max(peak, resident(pid))
            time.sleep(0.2)
    for one in running:
        one.result()
    lost = accepted - client.stored().keys()
    refused = ", ".join(
        f"{count:,} got {status}" for status, count in sorted(statuses.items()) if status != 200
    )
    return [
        [f"{10 * SLOTS} clients on {SLOTS} slots, {seconds} s",
         f"{len(accepted)} images accepted, {len(lost)} of them lost; {refused}"],
        ["memory before that / at most", f"{before:.0f} / {peak:.0f} MiB"],
    ]  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    keep_freed_memory()  # as the service does
    inspector = Inspector.from_pretrained(batch_size=options.batch_size, device="cpu")
    # The service answers with another status where the response holds no answer.
    outcomes = zip(SAMPLES, inspector.inspect_batch(SAMPLES), strict=True)
    answered = [path for path, outcome in outcomes if isinstance(outcome, Inspection)]
    photos = [answered[index % len(answered)] for index in range(options.images)]
    with tempfile.TemporaryDirectory() as folder:
        process, client = start(Path(folder), options.batch_size)
        try:
            rows = low_load(inspector, client, photos[:48])
            rows += saturation(inspector, client, photos, options.rounds)
            rows += flood(client, process.pid, photos, 20)
        finally:
            process.terminate()
            process.wait()
    note = (
        f"{machine()}, bundled model, batches of {options.batch_size}, the photos of samples/ "
        "(about 384×384); the client runs on the same cores."
    )
    text = markdown(COLUMNS, rows) + f"\n\n{note}"
    publish("service", text, options.write)


if __name__ == "__main__":
    main()
