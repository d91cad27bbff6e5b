"""Raw bytes to a real server: malformed requests, and clients that keep it waiting."""

import contextlib
import logging
import random
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.raw_http import check, exchange, get, head, read, status
from helpers.serving import as_json, picture, serving_here

PHOTO = picture(20)


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def mutants(count: int) -> Iterator[bytes]:
    """Requests of which bytes, headers or lengths are wrong, the same on every run."""
    random_ = random.Random(11)
    body = (
        b'--XX\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n'
        b"Content-Type: image/png\r\n\r\n" + PHOTO + b"\r\n--XX--\r\n"
    )
    form = head(body, b"multipart/form-data; boundary=XX", b"Origin: http://127.0.0.1\r\n")
    text = as_json(PHOTO)
    put = b"PUT /v1/inspections/" + b"0" * 32 + b"/review HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    whole = [
        form + body,
        head(text, more=b"Accept: */*\r\nAuthorization: Basic QTpC\r\n") + text,
        get("/v1/inspections?limit=3&min_score=0.5&since=2026-01-01T00:00:00Z"),
        put + b'Content-Type: application/json\r\nContent-Length: 19\r\n\r\n{"verdict":"right"}',
    ]
    values = [
        b"undefined", b"", b"\xff\xfe", b"\x00", b";;==", b"a" * 9000, b"1e9", b"-1",
        b"=?utf-8?q?x?=",
        b"*/*;q=x", b"\"", b"charset*=undefined''x", b"9" * 30, "ü".encode(), b"\xd9\xa3", b"%00",
    ]  # fmt: skip
    names = [
        b"Content-Type", b"Content-Length", b"Host", b"Authorization", b"Origin", b"Expect",
        b"Range",
        b"Sec-Fetch-Site", b"Transfer-Encoding", b"Content-Encoding", b"Connection", b"Upgrade",
        b"Cookie", b"X-Forwarded-For", b"If-None-Match", b"Accept-Encoding",
    ]  # fmt: skip
    for index in range(count):
        request = bytearray(whole[index % len(whole)])
        end = request.index(b"\r\n\r\n")
        match index // len(whole) % 4:
            case 0:
                for _ in range(random_.randrange(1, 4)):
                    request[random_.randrange(end)] = random_.randrange(256)
            case 1:
                line = random_.choice(names) + b": " + random_.choice(values) + b"\r\n"
                start = request.index(b"\r\n") + 2
                request[start:start] = line
            case 2:
                lines = bytes(request[:end]).split(b"\r\n")
                at = random_.randrange(1, len(lines))
                lines[at] = lines[at].partition(b":")[0] + b": " + random_.choice(values)
                request[:end] = b"\r\n".join(lines)
            case 3:
                start = random_.randrange(len(request))
                request[start : start + random_.randrange(9)] = random_.randbytes(9)
        yield bytes(request)


def test_malformed_requests_are_refused_as_json(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving_here(tmp_path, deadline=4.0, head_seconds=1.0) as port:
        sent = list(mutants(300))
        with ThreadPoolExecutor(16) as clients:
            answers = list(clients.map(lambda request: exchange(port, request), sent))
        statuses = list(map(check, answers, sent))
        assert 200 in statuses
        assert statuses.count(200) < 200
        body = b"--XX\r\n\r\n\r\n--XX--\r\n"
        kind = b"multipart/form-data; boundary=XX; charset=undefined"
        answer = exchange(port, head(body, kind), body)
        assert (status(answer), b"undefined" in answer) == (415, True)
        assert status(exchange(port, get("/readyz"))) == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_an_error_of_ours_is_json_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("flawsight.serve.store.Store.page", fail)
    with serving_here(tmp_path) as port:
        answer = exchange(port, get("/v1/inspections"))
        assert (status(answer), b"InternalError" in answer, b"secret" in answer) == (
            500,
            True,
            False,
        )
        assert b"content-security-policy" in answer.lower()
    assert "a secret" in caplog.text


def test_idle_connections_deny_nobody(tmp_path: Path) -> None:
    with serving_here(tmp_path, connections=40) as port, contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        for path in ("/healthz", "/readyz", "/v1/inspections"):
            assert status(exchange(port, get(path))) == 200
        body = as_json(PHOTO)
        assert status(exchange(port, head(body), body)) == 200


def test_many_idle_connections_at_the_default_limits(tmp_path: Path) -> None:
    with serving_here(tmp_path) as port, contextlib.ExitStack() as stack:
        for _ in range(515):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert status(exchange(port, get("/healthz"))) == 200


def test_bodies_that_drip_deny_nobody(tmp_path: Path) -> None:
    """More of them than slots and connections; the first to come are closed."""
    body = as_json(PHOTO)
    limits = {"connections": 40, "slots": 8, "images": 8, "deadline": 4.0}
    with serving_here(tmp_path, **limits) as port, contextlib.ExitStack() as stack:
        dripping = []
        for _ in range(60):
            connection = socket.create_connection(("127.0.0.1", port), timeout=9)
            stack.enter_context(connection)
            connection.sendall(head(body) + body[:5])
            dripping.append(connection)
        time.sleep(0.7)
        for connection in dripping[-30:]:
            connection.sendall(body[5:6])
        assert status(exchange(port, get("/healthz"))) == 200
        assert status(exchange(port, head(body), body)) == 200
        with socket.create_connection(("127.0.0.1", port), timeout=20) as last:
            last.sendall(head(body) + body[:5])
            assert status(read(last)) == 408


def test_a_head_that_drips_is_closed(tmp_path: Path) -> None:
    with serving_here(tmp_path, head_seconds=0.5) as port:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=9) as silent:
            assert silent.recv(10) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=9) as drips:
            drips.sendall(b"GET /healthz HTTP/1.1\r\n")
            time.sleep(0.3)
            drips.sendall(b"A: b\r\n")
            answer = read(drips)
        assert (check(answer, b""), b"head of the request" in answer) == (408, True)
        assert time.monotonic() - began < 5
        # Kept alive, a connection has the same time for the head of its next request.
        with socket.create_connection(("127.0.0.1", port), timeout=9) as kept:
            kept.sendall(get("/healthz").replace(b"Connection: close\r\n", b""))
            assert status(read(kept)) == 200
            kept.sendall(b"GET /h")
            assert status(read(kept)) == 408


def test_who_makes_most_wait_makes_room(tmp_path: Path) -> None:
    """A connection of another address outlives those of one that opens too many."""
    with serving_here(tmp_path, connections=10) as port, contextlib.ExitStack() as stack:
        other = socket.create_connection(("127.0.0.1", port), 9, ("127.0.0.2", 0))
        stack.enter_context(other)
        for _ in range(50):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.2)
        other.sendall(get("/healthz"))
        assert status(read(other)) == 200
