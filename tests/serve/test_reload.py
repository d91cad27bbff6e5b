"""Reloads in the service: requests in flight, bad files, signals. The models are stand-ins."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from flawsight.errors import CalibrationError
from flawsight.serve import reloading
from flawsight.serve.access_tokens import AccessTokens
from flawsight.serve.app import create_app
from flawsight.serve.inspection_setup import Setup
from flawsight.serve.limits import Limits
from flawsight.serve.references import NO_REFERENCES
from flawsight.serve.reloading import Reloader, Reloads
from flawsight.serve.server import Server, serve_app
from flawsight.serve.store import Store
from helpers.good_photos import part, png, references_of, write_reference
from helpers.serving import BATCH, as_json, inspect_batch, picture
from helpers.waiting import wait_until

JSON = {"Content-Type": "application/json"}
Start = Callable[..., TestClient]


def setup(number: int, seconds: float = 0.0) -> Setup:
    """A setup whose scores, thresholds and hash all tell its number, of 0 to 9."""

    def inspect(images: Sequence[Image.Image]) -> list[Any]:
        time.sleep(seconds)
        return [replace(one, pred_score=number / 10) for one in inspect_batch(images)]  # type: ignore[type-var]

    return Setup(
        inspect, {"bolt": number / 10 + 0.05}, {"model_sha256": str(number)}, NO_REFERENCES
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    clients: list[TestClient] = []

    def started(
        first: Setup, reloads: Reloads | None, token: str | None = None, **limits: Any
    ) -> TestClient:
        app = create_app(
            first.inspect_batch, BATCH, Store(str(tmp_path / "store")),
            Limits(**{"rate": 0, **limits}), None if token is None else AccessTokens(token),
            first.thresholds, first.about, references=first.references, reloads=reloads,
        )  # fmt: skip
        clients.append(TestClient(app, base_url="http://127.0.0.1:8000"))
        return clients[-1].__enter__()

    yield started
    for client in clients:
        client.__exit__()


def inspected(client: TestClient, *widths: int) -> list[Any]:
    body = as_json(*map(picture, widths or (20,)), product="bolt")
    answer = client.post("/v1/inspect", content=body, headers=JSON)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def told(one: Any) -> set[int]:
    """The numbers of the setups that a row is of."""
    by_threshold = round((one["threshold"] - 0.05) * 10)
    return {round(one["pred_score"] * 10), by_threshold, int(one["model_sha256"])}


def test_requests_in_flight_all_answer_each_of_one_setup(start: Start) -> None:
    setups = iter([setup(number, 0.002) for number in range(1, 6)])
    client = start(setup(0, 0.002), Reloads(lambda: next(setups), []), slots=64)
    stop, rows = threading.Event(), list[list[Any]]()

    def send() -> None:
        while not stop.is_set():
            rows.append(inspected(client, 20, 22, 24))

    with ThreadPoolExecutor(6) as clients:
        sending = [clients.submit(send) for _ in range(6)]
        for number in range(1, 6):
            count = len(rows)
            wait_until(lambda count=count: len(rows) > count + 6)  # type: ignore[misc]
            answer = client.post("/v1/reload")
            assert (answer.status_code, answer.json()["model_sha256"]) == (200, str(number))
            assert answer.json()["thresholds"] == {"bolt": number / 10 + 0.05}
            # From the answer on, the new one alone.
            assert told(inspected(client)[0]) == {number}
        stop.set()
        for one in sending:
            one.result()
    for request in rows:
        assert len(set.union(*map(told, request))) == 1
    assert set.union(*(told(one) for request in rows for one in request)) == set(range(6))
    stored = client.get("/v1/inspections?limit=500").json()["inspections"]
    assert all(len(told(one)) == 1 for one in stored)
    assert "flawsight_reloads_total" in client.get("/metrics").text


def test_what_waits_keeps_the_setup_that_it_came_to(start: Start) -> None:
    busy, gate = threading.Event(), threading.Event()
    old = setup(0)

    def slow(images: Sequence[Image.Image]) -> list[Any]:
        busy.set()
        assert gate.wait(20)
        return old.inspect_batch(images)

    client = start(replace(old, inspect_batch=slow), Reloads(lambda: setup(1), []))
    with ThreadPoolExecutor(4) as clients:
        first = clients.submit(inspected, client)
        assert busy.wait(20)
        waits = clients.submit(inspected, client, 20, 22)
        wait_until(lambda: "flawsight_images_in_flight 3.0" in client.get("/metrics").text)
        time.sleep(0.1)  # it has been opened, and waits in the queue
        assert client.post("/v1/reload").status_code == 200
        later = clients.submit(inspected, client)
        gate.set()
        assert [told(one) for one in first.result() + waits.result()] == [{0}] * 3
        assert told(later.result()[0]) == {1}


def test_a_bad_file_changes_nothing_and_is_named(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[Exception] = [
        CalibrationError("line3.json is no readable calibration"),
        RuntimeError("a secret of the model"),
    ]

    def remake() -> Setup:
        if faults:
            raise faults.pop(0)
        return setup(1)

    client = start(setup(0), Reloads(remake, []))
    assert client.get("/readyz").json() == {"status": "ready"}
    for says in ("line3.json is no readable", "RuntimeError; see the log"):
        answer = client.post("/v1/reload")
        assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "ServeError")
        assert says in answer.json()["error"]["message"]
        assert "secret" not in answer.text
        assert client.get("/readyz").json() == {"status": "ready", "reload": "refused"}
        assert "flawsight_reload_refused 1.0" in client.get("/metrics").text
        assert told(inspected(client)[0]) == {0}
    assert "line3.json is no readable" in caplog.text
    assert client.post("/v1/reload").status_code == 200
    assert client.get("/readyz").json() == {"status": "ready"}
    assert told(inspected(client)[0]) == {1}
    metrics = client.get("/metrics").text
    assert 'flawsight_reloads_total{outcome="refused"} 2.0' in metrics
    assert 'flawsight_reloads_total{outcome="done"} 1.0' in metrics


def test_a_reload_needs_the_token_no_foreign_page_and_something_to_read(start: Start) -> None:
    client = start(setup(0), None, token="a-token-of-the-tests")
    assert client.post("/v1/reload").status_code == 401
    client.headers["Authorization"] = "Bearer a-token-of-the-tests"
    answer = client.post("/v1/reload")
    assert (answer.status_code, "--adapter" in answer.text) == (422, True)
    client.headers["Origin"] = "https://elsewhere.example"
    assert client.post("/v1/reload").status_code == 403


def test_changed_files_are_read_once_when_they_rest(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.05)
    adapter, made = tmp_path / "adapter", list[str]()
    adapter.mkdir()
    file = adapter / "weights"
    file.write_text("0")

    def remake() -> Setup:
        made.append(file.read_text())
        if made[-1] == "bad":
            raise CalibrationError(f"{file} is bad")
        return setup(int(made[-1]))

    client = start(setup(0), Reloads(remake, [adapter], by_themselves=True))
    time.sleep(0.2)
    assert made == []
    file.write_text("bad")
    wait_until(lambda: client.get("/readyz").json().get("reload") == "refused")
    time.sleep(0.2)
    assert made == ["bad"]  # once
    file.write_text("7")
    wait_until(lambda: told(inspected(client)[0]) == {7})
    assert made == ["bad", "7"]


def test_a_file_that_is_still_being_written_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sizes, read = tmp_path / "weights", iter([1, 2, 3, 3, 3]), list[int]()
    file.write_bytes(b"")

    def remake() -> Setup:
        read.append(file.stat().st_size)
        return setup(1)

    async def look(seconds: float) -> None:
        size = next(sizes, None)
        if size is None:
            raise asyncio.CancelledError
        if size != file.stat().st_size:
            file.write_bytes(bytes(size))

    reloader = Reloader(setup(0), Reloads(remake, [file]))

    async def reload() -> None:
        reloader.reload_if_changed()

    monkeypatch.setattr("flawsight.serve.reloading.asyncio.sleep", look)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(reloading.reload_changed(reloader, reload))
    assert read == [3]


def test_what_the_service_writes_itself_is_no_change(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.02)
    file, made = tmp_path / "bolt.reference", list[int]()
    write_reference(file)

    def remake() -> Setup:
        made.append(1)
        return replace(setup(1), references=references_of(bolt=file))

    first = replace(setup(0), references=references_of(bolt=file))
    client = start(first, Reloads(remake, [file], by_themselves=True))
    photo = ("a.png", png(part(60)))
    (one,) = client.post("/v1/inspect", files=[("images", photo)]).json()["results"]
    word = "wrong" if one["pred_label"] else "right"
    client.put(f"/v1/inspections/{one['id']}/review", json={"verdict": word})
    changed = client.post("/v1/references/bolt/photos", json={"inspection": one["id"]})
    assert changed.status_code == 200
    time.sleep(0.2)
    assert made == []
    # A file of another program is read, and can then be changed again.
    learned = write_reference(file, 200)
    wait_until(lambda: client.get("/v1/references/bolt").json()["sha256"] == learned.sha256)
    id = client.get("/v1/references/bolt").json()["photos"][0]["id"]
    assert client.delete(f"/v1/references/bolt/photos/{id}").status_code == 200
    assert f'sha256="{learned.sha256}"' not in client.get("/metrics").text


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_sighup_reloads(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(setup(0), Reloads(lambda: setup(1), []))
    monkeypatch.setattr("flawsight.serve.server._leave_what_hangs", lambda: None)
    monkeypatch.setattr(Server, "run", lambda server: signal.raise_signal(signal.SIGHUP))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        serve_app(client.app, "127.0.0.1", 1, Limits())  # type: ignore[arg-type]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    wait_until(lambda: told(inspected(client)[0]) == {1})
