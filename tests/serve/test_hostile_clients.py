"""What a hostile client may send: odd methods, paths, heads and bodies, and too much of them."""

import contextlib
import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.store import Store
from helpers.raw_http import check, exchange, get, head, read, status
from helpers.serving import BATCH, as_json, inspect_batch, picture, serving_here

PHOTO = picture(20)
FORM = b"multipart/form-data; boundary=XX"
HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """The port of a service and the id of an inspection."""
    with serving_here(tmp_path_factory.mktemp("store")) as port:
        body = as_json(PHOTO)
        answer = exchange(port, head(body), body)
        yield port, json.loads(answer.partition(b"\r\n\r\n")[2])["results"][0]["id"]


@pytest.fixture(autouse=True)
def _nothing_fails(served: tuple[int, str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert status(exchange(served[0], get("/readyz"))) == 200


def part(headers: bytes, content: bytes = PHOTO) -> bytes:
    return b"--XX\r\nContent-Disposition: form-data; " + headers + b"\r\n\r\n" + content + b"\r\n"


def test_odd_methods(served: tuple[int, str]) -> None:
    port, id = served
    paths = ["/", "/v1/inspect", "/v1/inspections", f"/v1/inspections/{id}/photo", "/readyz", "*"]
    for method in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "DELETE", "get", "X" * 300):
        for path in paths:
            sent = get(path).replace(b"GET", method.encode(), 1)
            answer = exchange(port, sent)
            if method == "HEAD":
                assert (status(answer) < 500, answer.partition(b"\r\n\r\n")[2]) == (True, b"")
            else:
                assert check(answer, sent) in (400, 404, 405)


def test_odd_versions_and_what_is_not_http(served: tuple[int, str]) -> None:
    port, _ = served
    for line in (b"GET /healthz", b"GET  /healthz HTTP/1.1", b"\r\n" * 9,
                 b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(99),
                 b"GET /h\xc3\xa4 HTTP/1.1", b"GET /\0 HTTP/1.1", b"GET h HTTP/1.1",
                 b"A" * 99_999):  # fmt: skip
        sent = line + b"\r\n" + HOST + CLOSE
        assert 400 <= check(exchange(port, sent), sent) < 500


def test_odd_paths(served: tuple[int, str]) -> None:
    """None of them reads a file that is not the inspection's."""
    port, id = served
    base = f"/v1/inspections/{id}"
    for path in (
        f"{base}/../photo", f"{base}/..%2fphoto", f"{base}/%2e%2e/{id}/photo", f"{base}/photo%00",
        f"{base}/arrays.npz", f"{base}/photo/", f"{base}//photo", f"{base}/./photo",
        f"{base}/photo;a=b", f"{base}/..%5cphoto", f"{base}/%252e%252e%252fphoto", f"{base}/",
        f"/v1/inspections/{id.upper()}/photo", f"/v1/inspections/{id}%0a/photo",
        f"/v1/inspections/{id}%20", f"/v1/inspections/{'٠' * 32}", f"//v1/inspections/{id}",
        "/static/../app.py", "/static/..%2f..%2fapp.py", "/static//etc/passwd", "/etc/passwd",
        "//evil.example/", "/%ff%fe", f"/v1/inspections/{id}/photo%c0%ae", "/" + "a/" * 9000,
    ):  # fmt: skip
        sent = get(path).decode().encode("utf-8", "surrogateescape")
        assert check(exchange(port, sent), sent) in (400, 404, 422), path
    absolute = get(f"http://evil.example{base}")
    assert check(exchange(port, absolute), absolute) in (200, 400, 404)


def test_odd_queries(served: tuple[int, str]) -> None:
    port, id = served
    for query in (
        "since=9999-12-31T23:59:59Z", "until=0001-01-01T00:00:00%2B23:59", "since=-1e400",
        "since=1e15", "min_score=inf", "min_score=1e-400", "limit=+5", "limit=05", "limit=5.0",
        "limit=%D9%A5", "limit=-1", "limit=9" + "9" * 5000, "verdict=GOOD", "reviewed=2",
        "product=" + "%F0%9F%92%A5" * 200, "product=%ED%A0%80", f"before={id}%0a",
        "before=" + "f" * 32, "&".join(["limit=1"] * 2000), "&" * 9000, "limit[]=1", "=",
        "product=%e2%80%ae%00", "since=2026-01-01T00:00:00Z&since=x",
    ):  # fmt: skip
        sent = get(f"/v1/inspections?{query}")
        assert check(exchange(port, sent), sent) in (200, 422), query
    body = as_json(PHOTO)
    for query in ("deadline=inf", "deadline=nan", "deadline=0", "deadline=-1", "deadline=1e400",
                  "include=" + "&include=".join(["map.png"] * 3000), "include=../x"):  # fmt: skip
        sent = head(body).replace(b"/v1/inspect", b"/v1/inspect?" + query.encode(), 1)
        assert check(exchange(port, sent, body), sent) in (200, 422), query


def test_odd_heads(served: tuple[int, str]) -> None:
    port, _ = served
    ranges = b"Range: bytes=" + b",".join(b"%d-" % number for number in range(5000)) + b"\r\n"
    for more in (
        ranges, b"Range: bytes=-1\r\n", b"Host: a\r\n", b"Host: [::1\r\n", b"A: b\r\n" * 20_000,
        b"A" * 99_999 + b": b\r\n", b"A: " + b"b" * 99_999 + b"\r\n", b": b\r\n", b"A\r\n",
        b" folded\r\n", b"A: b\r\n c\r\n", b"A: \x00\r\n", b"\xff: b\r\n", b"A : b\r\n",
        b"Upgrade: h2c\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n", b"Content-Length: +5\r\n",
        b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip\r\n", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"X-HTTP-Method-Override: DELETE\r\n",
        b"Authorization: Basic \xff\r\n", b"Authorization: Bearer\r\n",
        b"Cookie: " + b"a=b;" * 9000,
        b"X-Forwarded-Host: evil\r\nX-Forwarded-For: ::::\r\nForwarded: for=\"\r\n",
    ):  # fmt: skip
        sent = b"GET /v1/inspections HTTP/1.1\r\n" + HOST + more + CLOSE
        answer = exchange(port, sent, b"0\r\n\r\n")
        assert check(answer, sent) in (200, 400, 403), (more[:60], answer)
        assert b"evil" not in answer


def test_odd_chunks(served: tuple[int, str]) -> None:
    port, _ = served
    start = b"POST /v1/inspect HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    start += b"Transfer-Encoding: chunked\r\n" + CLOSE
    body = as_json(PHOTO)
    whole = b"%x\r\n" % len(body) + body + b"\r\n0\r\n"
    assert check(exchange(port, start, whole, b"\r\n"), b"") == 200
    for rest in (
        b"-5\r\nabcde\r\n0\r\n\r\n", b"0x5\r\nabcde\r\n0\r\n\r\n", b"5 \r\nabcde\r\n0\r\n\r\n",
        b"5\r\nabc\r\n0\r\n\r\n", b"f" * 30 + b"\r\n", b"zz\r\n", b"5;" + b"a" * 99_999,
        b"1\r\n{\r\n" * 3000 + b"0\r\n\r\n", whole + b"A: b\r\n" * 20_000, b"0\r\n\r\n",
    ):  # fmt: skip
        assert 400 <= check(exchange(port, start, rest), rest) < 500, rest[:60]


def test_requests_sent_at_once_are_answered_in_turn(served: tuple[int, str]) -> None:
    """And what is behind a body never becomes part of it."""
    port, id = served
    kept = get("/healthz").replace(b"Connection: close\r\n", b"")
    answers = exchange_all(port, kept * 200 + get("/readyz"))
    assert len(re.findall(rb"HTTP/1.1 200 OK", answers)) == 201
    body = as_json(PHOTO)
    posted = head(body).replace(b"Connection: close\r\n", b"") + body
    answers = exchange_all(port, posted + get(f"/v1/inspections/{id}"))
    assert len(re.findall(rb"HTTP/1.1 200 OK", answers)) == 2
    answers = exchange_all(port, posted + b"garbage\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"400"]


def exchange_all(port: int, sent: bytes) -> bytes:
    """Return all that comes before the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        received = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(1 << 16):
                received += piece
    return received


def test_odd_forms(served: tuple[int, str]) -> None:
    port, _ = served
    image, end = b'name="images"; filename="', b"--XX--\r\n"
    for form, kind, statuses in (
        (part(image + b'a"') * 500 + end, FORM, (400, 413)),
        (part(image + b'a"\r\n' + b"A: b\r\n" * 3000 + b"B: c") + end, FORM, (200, 400)),
        (part(image + b"a" * 100_000 + b'"') + end, FORM, (200, 400)),
        (part(b"name*0=ima; name*1=ges; filename=a") + end, FORM, (200, 422)),
        (part(image + b'a"; filename="b"; name="product"') + end, FORM, (200, 422)),
        (part(b"name=images; filename*=raw_unicode_escape''%5Cud800") + end, FORM, (200,)),
        (part(b"name=images; filename*=punycode''%ff%ff") + end, FORM, (200,)),
        (part(b"name=images; filename*=utf-8''..%2f..%2fetc%2fpasswd%00") + end, FORM, (200,)),
        (part('name=images; filename="\u202egnp.exe"'.encode()) + end, FORM, (200,)),
        (b"preamble\r\n" + part(image + b'a"') + end + b"epilogue" * 99, FORM, (200, 400)),
        (part(image + b'a"') + part(b'name="product"', b"\xf0\x9f\x92\xa5") + end, FORM, (200,)),
        (part(image + b'a"') + part(b'name="product"', "é".encode() * 300) + end, FORM, (422,)),
        (b"\r\n--X" * 50_000, FORM, (400,)),
        (b"\r" * 300_000, FORM, (400,)),
        (part(image + b'a"', b"\r\n--X" * 50_000) + end, FORM, (422,)),
        (part(image + b'a"') + end, FORM.replace(b"XX", b"\xfc"), (400,)),
        (part(image + b'a"') + end, b"multipart/form-data; boundary*=utf-8''XX", (200, 400)),
        (part(image + b'a"') + end, b"multipart/form-data; boundary*0=X; boundary*1=X", (200, 400)),
        (part(image + b'a"') + end, b"multipart/mixed; boundary=XX", (415,)),
    ):  # fmt: skip
        sent = head(form, kind, b"Origin: http://127.0.0.1\r\n")
        assert check(exchange(port, sent, form), form) in statuses, form[:90]


def test_odd_json(served: tuple[int, str]) -> None:
    port, id = served
    data = as_json(PHOTO)[len('{"images": [') : -len("]}")]
    deep = b'{"a":' * 50_000
    for body in (
        b"[" * 50_000, deep, b'{"images": ' + b"[" * 50_000, b'{"images": [{"data": ' + deep,
        b'{"images": [' + data + b'], "product": "' + b"a" * 100_000 + b'"}',
        b'{"images": [' + data + b'], "images": []}', b'{"images": {}}', b'{"images": null}',
        b'{"images": [' + b",".join([b'{"data": ""}'] * 20_000) + b"]}",
        b'{"images": [' + data + b'], "__proto__": {}}', b"\xef\xbb\xbf", b"\0" * 999,
        b'{"images": [{"data": "data:;base64,' + b"%41" * 9999 + b'"}]}',
        b'{"images": [{"data": "' + b"\\u0041" * 9999 + b'", "name": "\\u202e"}]}',
        b"9" * 99_999, b'"' + b"\\" * 9999, b'{"images": [{"data": "\\uDFFF"}]}',
    ):  # fmt: skip
        assert check(exchange(port, head(body), body), body) in (413, 422), body[:60]
    review = f"PUT /v1/inspections/{id}/review HTTP/1.1\r\n".encode() + HOST + CLOSE[:-2]
    for body in (
        deep, b"[" * 50_000, b"null", b"", b'{"verdict": "maybe"}', b'{"verdict": ["right"]}',
        b'{"verdict": "right", "x": 1}', b'{"verdict": "right"}' + b" " * 40, b"\xff\xfe", b"NaN",
    ):  # fmt: skip
        for kind in (b"application/json", b"text/plain", b"application/x-www-form-urlencoded"):
            sent = review + b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
            assert check(exchange(port, sent, body), body) in (200, 400, 413, 422), body[:60]


def test_only_uploads_may_be_large(tmp_path: Path) -> None:
    """Other bodies are read whole and are not counted in the memory of photos."""
    app = create_app(inspect_batch, BATCH, Store(str(tmp_path)), Limits(rate=0))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        large = b'{"verdict": "right"' + b" " * 100_000 + b"}"
        url = f"/v1/inspections/{'0' * 32}/review"
        kind = {"Content-Type": "application/json"}

        def pieces() -> Iterator[bytes]:
            for start in range(0, len(large), 10_000):
                yield large[start : start + 10_000]

        for body in (large, pieces()):
            answer = client.put(url, content=body, headers=kind)
            assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "Refused")
        assert client.put(url, content=large[:19] + b"}", headers=kind).status_code == 404


def test_reviews_without_end_leave_one(served: tuple[int, str]) -> None:
    port, id = served
    for number in range(60):
        body = b'{"verdict": "%s"}' % (b"right" if number % 2 else b"wrong")
        sent = f"PUT /v1/inspections/{id}/review HTTP/1.1\r\n".encode() + HOST + CLOSE[:-2]
        sent += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert check(exchange(port, sent + body), body) == 200
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(get(f"/v1/inspections/{id}"))
        review = json.loads(read(connection).partition(b"\r\n\r\n")[2])["review"]
    assert review["verdict"] == "right"
