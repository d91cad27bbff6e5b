"""The service while its PostgreSQL is killed, restarted, frozen, locked, read-only or gone."""

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.store import Query, Store
from helpers.postgres import Postgres
from helpers.serving import BATCH, as_json, inspect_batch, not_ready, picture, serving_here
from helpers.serving import serving as serving_process
from helpers.waiting import wait_until

psycopg = pytest.importorskip("psycopg", reason="needs psycopg")

HOME = "http://127.0.0.1"
# Ends all connections but those of these processes.
OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> ALL(%s)"""


@pytest.fixture
def database(postgres: Postgres) -> str:
    return postgres.new_database()


@contextmanager
def serving(database: str, folder: Path, **limits: Any) -> Iterator[TestClient]:
    bounds = Limits(**{"rate": 0, **limits})
    app = create_app(inspect_batch, BATCH, Store(database, folder / "files"), bounds)
    with TestClient(app, base_url=HOME) as client:
        yield client


@pytest.fixture
def served(database: str, tmp_path: Path) -> Iterator[TestClient]:
    with serving(database, tmp_path) as client:
        assert post(client).status_code == 200
        yield client


def post(client: TestClient, width: int = 20, **query: float) -> Any:
    return client.post("/v1/inspect", files={"images": picture(width)}, params=query)


def ready(client: TestClient) -> None:
    """Check that all is well, and that what was stored at the start is still there."""
    assert client.get("/readyz").status_code == 200
    assert post(client, 24).status_code == 200
    assert client.get("/v1/inspections").json()["inspections"][-1]["image_size"] == [16, 20]


def test_a_database_that_goes_and_comes_back(postgres: Postgres, served: TestClient) -> None:
    (kept,) = served.get("/v1/inspections").json()["inspections"]
    review = f"/v1/inspections/{kept['id']}/review"
    postgres.stop()
    try:
        not_ready(served, "Check that it is running")
        for answer in (
            served.get("/v1/inspections"),
            served.get(f"/v1/inspections/{kept['id']}/photo"),
            served.put(review, json={"verdict": "wrong"}),
        ):
            assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "StoreError")
        assert served.get("/healthz").status_code == 200
    finally:
        postgres.start()
    assert served.get(f"/v1/inspections/{kept['id']}").json() == kept
    assert served.put(review, json={"verdict": "wrong"}).status_code == 200
    ready(served)


def test_a_kill_under_load_loses_nothing_acknowledged(
    postgres: Postgres, database: str, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    refusals: list[dict[str, Any]] = []
    stop = threading.Event()

    def client(port: int, width: int) -> None:
        while not stop.is_set():
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                kind = {"Content-Type": "application/json"}
                connection.request("POST", "/v1/inspect", as_json(picture(width)), kind)
                answer = connection.getresponse()
                body = json.loads(answer.read())
            if answer.status == 200:
                acknowledged.append(body["results"][0]["id"])
            else:
                assert answer.status == 503
                refusals.append(body["error"])

    def wait_for(found: list[Any], more: int) -> None:
        enough, end = len(found) + more, time.monotonic() + 60
        while len(found) < enough and time.monotonic() < end:
            time.sleep(0.01)
        assert len(found) >= enough

    files = tmp_path / "files"
    with serving_here(database, files=files) as port, ThreadPoolExecutor(4) as clients:
        running = [clients.submit(client, port, 20 + index) for index in range(4)]
        try:
            wait_for(acknowledged, 20)
            postgres.kill()
            wait_for(refusals, 20)
            postgres.start()
            wait_for(acknowledged, 20)
        finally:
            stop.set()
        for one in running:
            one.result()
    assert {error["kind"] for error in refusals} == {"StoreError"}
    assert all("Check that it is running" in error["message"] for error in refusals)
    store = Store(database, files)
    rows = {row.id: row for row in store.search(Query(limit=100_000))}
    assert set(acknowledged) <= rows.keys()
    for id, row in rows.items():
        photo = store.files.folder(id) / "photo"
        assert photo.read_bytes() == picture(row.content["image_size"][1])
    store.close()


def test_a_restart_between_two_requests_is_not_noticed(
    postgres: Postgres, served: TestClient
) -> None:
    postgres.stop("fast")
    postgres.start()
    ready(served)
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    ready(served)


def test_a_frozen_database_holds_nobody_beyond_the_deadline(
    postgres: Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flawsight.serve.monitoring._READY_SECONDS", 0.5)
    with serving(database, tmp_path, deadline=1.0) as client:
        assert post(client).status_code == 200
        (kept,) = client.get("/v1/inspections").json()["inspections"]
        postgres.signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            not_ready(client, "does not answer in time")
            for answer in (
                client.get("/v1/inspections"),
                client.put(f"/v1/inspections/{kept['id']}/review", json={"verdict": "right"}),
            ):
                assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "StoreError")
            assert time.monotonic() - begun < 8
            assert client.get("/healthz").status_code == 200
            # What hangs keeps its slot, and so its photo is counted.
            assert "flawsight_images_in_flight 1.0" in client.get("/metrics").text
        finally:
            postgres.signal(signal.SIGCONT)
        ready(client)
        assert "flawsight_images_in_flight 0.0" in client.get("/metrics").text


def test_sigterm_stops_a_service_whose_database_is_frozen(
    postgres: Postgres, database: str, tmp_path: Path
) -> None:
    """After the deadline of the requests in flight, although threads still wait for it."""
    with (
        serving_process(database, files=tmp_path / "files", deadline=2.0) as service,
        ThreadPoolExecutor(2) as clients,
    ):
        assert service.post(picture(20))[0] == 200
        postgres.signal(signal.SIGSTOP)
        try:
            asking = [
                clients.submit(service.request, "GET", "/v1/inspections"),
                clients.submit(service.post, picture(22)),
            ]
            time.sleep(0.5)
            begun = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(30) == 0
            assert time.monotonic() - begun < 15
            assert [one.result()[0] for one in asking] == [503, 503]
        finally:
            postgres.signal(signal.SIGCONT)
    log = (tmp_path / "serving.log").read_text()
    assert "still waits for the store" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE"])
def test_a_locked_table_is_named(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr("flawsight.serve.open_database.LOCK_SECONDS", 1)
    with serving(database, tmp_path) as client, psycopg.connect(database) as other:
        assert post(client).status_code == 200
        other.execute(f"LOCK TABLE inspections IN {mode} MODE")
        not_ready(client, "locked")
        status = client.get("/v1/inspections").status_code
        assert status == (200 if mode == "SHARE" else 503)
        other.rollback()
        ready(client)


def test_a_lock_holds_nobody_beyond_the_deadline(database: str, served: TestClient) -> None:
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE inspections")
        begun = time.monotonic()
        answer = post(served, deadline=0.3)
        assert time.monotonic() - begun < 4
        assert (answer.status_code, "does not answer in time" in answer.text) == (503, True)
        other.rollback()
    ready(served)


def test_a_read_only_database_is_named(
    postgres: Postgres, database: str, served: TestClient
) -> None:
    """As after a failover to a replica."""
    name = database.rpartition("/")[2]
    close = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on", close)
    not_ready(served, "cannot be written to")
    (kept,) = served.get("/v1/inspections").json()["inspections"]
    review = served.put(f"/v1/inspections/{kept['id']}/review", json={"verdict": "right"})
    assert (review.status_code, "cannot be written to" in review.text) == (503, True)
    postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only", close)
    ready(served)


def test_a_database_without_free_connections_is_named(
    postgres: Postgres, database: str, served: TestClient
) -> None:
    postgres.stop("fast")
    few = ("max_connections=10", "superuser_reserved_connections=0", "max_wal_senders=0")
    postgres.start(*few)
    try:
        with ExitStack() as others:
            taken: list[Any] = []
            for _ in range(2):
                with suppress(psycopg.OperationalError):
                    while True:
                        taken.append(others.enter_context(psycopg.connect(database)))
                pids = [connection.info.backend_pid for connection in taken]
                taken[0].execute(OTHERS, [pids])  # the service may hold one itself
            not_ready(served, "no free connection")
            holders = [Path(f"/proc/{connection.info.backend_pid}") for connection in taken]
        # Closed is not yet gone: its process holds the place a moment longer.
        wait_until(lambda: not any(holder.exists() for holder in holders))
        ready(served)
    finally:
        postgres.stop("fast")
        postgres.start()
    ready(served)


def test_a_dropped_table_is_gone(postgres: Postgres, database: str, served: TestClient) -> None:
    postgres.execute("ALTER TABLE inspections RENAME TO elsewhere", url=database)
    not_ready(served, "gone")
    postgres.execute("ALTER TABLE elsewhere RENAME TO inspections", url=database)
    ready(served)


def test_a_dropped_database_is_gone(postgres: Postgres, database: str, served: TestClient) -> None:
    name = database.rpartition("/")[2]
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
    not_ready(served, "gone")
    postgres.execute(f"CREATE DATABASE {name}")
    not_ready(served, "gone")  # it is another, empty one


def test_a_user_who_may_not_write_is_named(
    postgres: Postgres, database: str, served: TestClient
) -> None:
    role = f"r{time.monotonic_ns()}"
    postgres.execute(
        f"CREATE ROLE {role} LOGIN", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        url=database,
    )  # fmt: skip
    store: Store = served.app.state.service.store  # type: ignore[attr-defined]
    (kept,) = store.search(Query())
    other = Store(database.replace("flawsight@", f"{role}@"), store.files.root)
    assert other.get(kept.id) is not None
    app = create_app(inspect_batch, BATCH, other, Limits(rate=0))
    with TestClient(app, base_url=HOME) as client:
        not_ready(client, "cannot be written to")


def test_options_of_the_url_are_kept(postgres: Postgres, database: str, tmp_path: Path) -> None:
    postgres.execute("CREATE SCHEMA line3", url=database)
    url = f"{database}?options=-csearch_path%3Dline3&application_name=line3"
    with serving(url, tmp_path) as client, psycopg.connect(database) as other:
        assert post(client).status_code == 200
        assert other.execute("SELECT count(*) FROM line3.inspections").fetchone() == (1,)
        names = other.execute("SELECT application_name FROM pg_stat_activity").fetchall()
        assert ("line3",) in names
