"""The service inside the test's process: answers, limits, who may come in, broken input."""

import base64
import io
import json
import logging
import os
import random
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from flawsight import Inspection, Inspector
from flawsight.cli import app as cli
from flawsight.errors import StoreError
from flawsight.io.images import prepare_image
from flawsight.io.overlay import draw_overlay
from flawsight.serve.access import RateLimiter
from flawsight.serve.access_tokens import AccessTokens
from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.store import Query, Store
from helpers.bundled import FEW
from helpers.serving import BATCH, as_json, inspect_batch, picture

TOKEN = "a-token-of-the-tests"
JSON = {"Content-Type": "application/json"}
Make = Callable[..., TestClient]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start services with a stand-in for the model; stop them after the test."""
    clients: list[TestClient] = []

    def start(
        model: Any = inspect_batch, token: str | None = None, more: Any = None, **limits: Any
    ) -> TestClient:
        app = create_app(
            model, BATCH, Store(str(tmp_path)), Limits(**{"rate": 0, **limits}),
            None if token is None else AccessTokens(token), more,
        )  # fmt: skip
        client = TestClient(app, base_url="http://127.0.0.1:8000")
        clients.append(client)
        return client.__enter__()

    yield start
    for client in clients:
        client.__exit__()


def form(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{index}.png", content)) for index, content in enumerate(contents)]


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector.from_pretrained(device="cpu", settings=FEW, batch_size=BATCH)


def test_results_are_the_inspectors(
    make: Make, inspector: Inspector, answered_samples: list[Path]
) -> None:
    client = make(inspector.inspect_batch)
    samples = answered_samples[:4]
    photos = [path.read_bytes() for path in samples]
    together = client.post("/v1/inspect?include=map.npz&include=overlay.png", files=form(*photos))
    assert together.status_code == 200
    # The same images at once, for sums run in another order in another batch.
    owns = inspector.inspect_batch(samples)
    for path, own, body in zip(samples, owns, together.json()["results"], strict=True):
        assert isinstance(own, Inspection)
        expected = own.to_json()
        for name in ("image", "seconds"):
            del expected[name]
        shown = json.loads(json.dumps(expected))
        assert {name: body[name] for name in shown} == shown
        with np.load(io.BytesIO(base64.b64decode(body["files"]["map.npz"]))) as arrays:
            assert np.abs(arrays["anomaly_map"] - own.anomaly_map).max() < 1e-3
            assert np.abs(arrays["token_maps"] - own.token_maps).max() < 1e-3
        url = f"/v1/inspections/{body['id']}"
        grey = np.asarray(Image.open(io.BytesIO(client.get(f"{url}/map.png").content)))
        assert np.abs(grey / 65535 - own.anomaly_map).max() < 1e-3
        overlay = Image.open(io.BytesIO(base64.b64decode(body["files"]["overlay.png"])))
        drawn = draw_overlay(prepare_image(Image.open(path)), own.anomaly_map)
        assert np.abs(np.asarray(overlay).astype(int) - np.asarray(drawn)).max() <= 2
        assert client.get(f"{url}/photo").content == path.read_bytes()
        assert client.get(f"{url}/photo").headers["content-type"] == "image/jpeg"


def test_a_warning_about_the_photo_is_answered_stored_and_shown(
    make: Make, inspector: Inspector, answered_samples: list[Path]
) -> None:
    photo = Image.open(answered_samples[0])
    tiff = io.BytesIO()
    photo.save(tiff, "TIFF", save_all=True, append_images=[photo])
    client = make(inspector.inspect_batch)
    (body,) = client.post("/v1/inspect", files=form(tiff.getvalue())).json()["results"]
    assert "2 pages; only page 1" in body["warnings"][0]
    assert client.get(f"/v1/inspections/{body['id']}").json()["warnings"] == body["warnings"]
    view = client.get(f"/v1/inspections/{body['id']}/view").json()
    assert body["warnings"][0] in view["warning"]


def test_a_stored_photo_is_shown_with_the_bit_depth_of_its_inspection(
    make: Make, tmp_path: Path
) -> None:
    """It has no scale without: a TIFF of counts as floats."""
    counts = np.arange(40 * 60, dtype=np.float32).reshape(40, 60)
    tiff = io.BytesIO()
    Image.fromarray(counts).save(tiff, "TIFF")

    def inspect(images: Any) -> Any:
        return inspect_batch([prepare_image(image, bit_depth=12) for image in images])

    app = create_app(
        inspect, BATCH, Store(str(tmp_path / "s")), Limits(rate=0), about={"bit_depth": 12}
    )
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        (body,) = client.post("/v1/inspect", files=form(tiff.getvalue())).json()["results"]
        shown = client.get(f"/v1/inspections/{body['id']}/photo.jpg").content
    grey = np.asarray(Image.open(io.BytesIO(shown)))[:, :, 0]
    assert np.abs(grey - counts / 4095 * 255).max() < 8


def test_form_and_json_and_history(make: Make) -> None:
    client = make()
    one = client.post(
        "/v1/inspect",
        files=[("images", ("C:\\x\\../bolt 7.png", picture(20)))],
        data={"product": "bolt"},
    ).json()["results"][0]
    assert (one["name"], one["product"], one["image_size"]) == ("bolt 7.png", "bolt", [16, 20])
    body = as_json(picture(21), picture(22), product="nut")
    two = client.post("/v1/inspect", content=body, headers=JSON).json()["results"]
    assert [result["image_size"][1] for result in two] == [21, 22]
    page = client.get("/v1/inspections", params={"limit": 2}).json()
    rest = client.get("/v1/inspections", params={"limit": 2, "before": page["next"]}).json()
    assert [*page["inspections"], *rest["inspections"]][-1] == one
    assert rest["next"] is None
    found = client.get("/v1/inspections", params={"product": "nut", "verdict": "defective"}).json()
    assert [row["id"] for row in found["inspections"]] == [two[1]["id"]]
    found = client.get("/v1/inspections", params={"since": "2999-01-01T00:00:00Z"}).json()
    assert found["inspections"] == []
    assert client.get(f"/v1/inspections/{one['id']}").json() == one
    url = f"/v1/inspections/{one['id']}/review"
    reviewed = client.put(url, json={"verdict": "wrong"}).json()
    assert (reviewed["pred_label"], reviewed["review"]["true_label"]) == (True, False)
    assert client.put(url, json={"verdict": "maybe"}).status_code == 422
    assert (
        client.put(url.replace(one["id"], "0" * 32), json={"verdict": "right"}).status_code == 404
    )


def test_the_page_loads_nothing_from_elsewhere(make: Make) -> None:
    client = make()
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    docs = client.get("/docs").text
    for path in re.findall(r'(?:src|href)="([^"#]+)"', page.text + docs):
        assert "//" not in path
        assert client.get(path).status_code == 200
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in docs
    answer = client.post("/v1/inspect", files=form(picture(20, kind="TIFF")))
    id = answer.json()["results"][0]["id"]
    view = client.get(f"/v1/inspections/{id}/view").json()
    assert (view["id"], view["name"], view["label"]) == (id, "0.png", None)
    assert view["explanation"].startswith("A <b>dark</b>")
    assert Image.open(io.BytesIO(client.get(view["photo"]).content)).format == "JPEG"
    client.put(f"/v1/inspections/{id}/review", json={"verdict": "right"})
    assert client.get(f"/v1/inspections/{id}/view").json()["label"] is True


def test_one_broken_image_fails_alone(make: Make) -> None:
    client = make()
    contents = [picture(20), b"no image", picture(13), picture(21), picture(22)[:60]]
    results = client.post("/v1/inspect", files=form(*contents)).json()["results"]
    kinds = [result.get("error", {}).get("kind") for result in results]
    assert kinds == [None, "ImageError", "ModelError", None, "ImageError"]
    assert "secret" not in json.dumps(results)
    assert client.post("/v1/inspect", files=form(b"no image")).status_code == 422
    assert client.post("/v1/inspect", files=form(picture(13))).status_code == 500
    assert len(client.get("/v1/inspections").json()["inspections"]) == 2
    images = client.get("/metrics").text
    assert 'flawsight_images_total{outcome="ModelError"} 2.0' in images


def test_a_products_own_threshold(make: Make) -> None:
    client = make(more={"bolt": 0.5})
    for product, verdict in (("bolt", False), ("nut", True)):
        answer = client.post("/v1/inspect", files=form(picture(20)), data={"product": product})
        assert answer.json()["results"][0]["pred_label"] is verdict


def test_deadline(make: Make) -> None:
    def slow(images: Any) -> Any:
        time.sleep(0.3)
        return inspect_batch(images)

    client = make(slow, deadline=20)
    answer = client.post("/v1/inspect?deadline=0.05", files=form(picture(20)))
    assert (answer.status_code, answer.json()["error"]["kind"]) == (504, "TimeoutError")
    assert int(answer.headers["retry-after"]) >= 1
    assert client.post("/v1/inspect", files=form(picture(20))).status_code == 200
    assert client.get("/v1/inspections").json()["next"] is None


def test_a_store_that_fails_acknowledges_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make()

    def fail(self: Store, *arguments: Any) -> None:
        raise StoreError("No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", fail)
        patch.setattr(Store, "check", fail)
        answer = client.post("/v1/inspect", files=form(picture(20)))
        assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "StoreError")
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"status": "ready"}


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says it is large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * min(height, 2000)), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_limits(make: Make) -> None:
    client = make(images=2, image_bytes=4000, body_bytes=20_000, pixels=10_000)
    kinds = {}
    for name, content in {
        "pixels": picture(101, 100),
        "bomb": bomb(30_000, 30_000),
        "huge bomb": bomb(60_000, 60_000),
        "bytes": picture(20) + bytes(4000),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    }.items():
        answer = client.post("/v1/inspect", files=form(content))
        kinds[name] = (answer.status_code, answer.json()["results"][0]["error"]["kind"])
    assert set(kinds.values()) == {(422, "ImageError")}
    assert client.post("/v1/inspect", files=form(*[picture(9)] * 3)).status_code == 413
    assert client.post("/v1/inspect", files=form(*[picture(9)] * 9)).status_code == 413
    for body in (as_json(bytes(20_000)), iter([as_json(bytes(20_000))])):
        answer = client.post("/v1/inspect", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "Refused")
    assert client.post("/v1/inspect", files=form(picture(9))).status_code == 200


def test_rate(make: Make) -> None:
    client = make(rate=0.5, burst=2)
    answers = [client.get("/v1/inspections") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) in (1, 2)
    assert client.get("/healthz").status_code == 200
    rate = RateLimiter(2.0, 1)
    waits = [rate.wait("a", 0.0), rate.wait("a", 0.0), rate.wait("b", 0.0), rate.wait("a", 0.5)]
    assert waits == [0.0, 0.5, 0.0, 0.0]


def test_token(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = make(token=TOKEN)
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    for header, status in {
        f"Bearer {TOKEN}": 200,
        f"bearer {TOKEN}": 200,
        f"Basic {basic}": 200,
        "": 401,
        "Bearer": 401,
        "Bearer wrong": 401,
        f"Bearer {TOKEN}x": 401,
        f"Digest {TOKEN}": 401,
        "Basic !": 401,
        "Basic " + base64.b64encode(b"\xff").decode(): 401,
    }.items():
        for path in ("/v1/inspections", "/metrics", "/openapi.json"):
            answer = client.get(path, headers={"Authorization": header, "Host": "line3.example"})
            assert answer.status_code == status, (header, path)
    assert client.post("/v1/inspect", files=form(picture(9))).status_code == 401
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert TOKEN not in caplog.text


def test_other_sites_pages_are_kept_out(make: Make) -> None:
    client = make()
    for host in ("evil.example", "[", "127.0.0.1.evil.example", ""):
        assert client.get("/v1/inspections", headers={"Host": host}).status_code == 403
    for header, status in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, 200),
    ):
        answer = client.post("/v1/inspect", files=form(picture(9)), headers=header)
        assert answer.status_code == status, header


def test_every_answer_carries_the_security_headers(make: Make) -> None:
    client = make(token=TOKEN)
    known = {"Authorization": f"Bearer {TOKEN}"}
    for answer in (
        client.get("/healthz"),
        client.get("/v1/inspections"),
        client.get("/nowhere", headers=known),
        client.delete("/v1/inspect", headers=known),
        client.get("/v1/inspections/x", headers=known),
    ):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def broken_images(count: int) -> Iterator[bytes]:
    """Truncated, mutated and mislabelled images, the same on every run."""
    random_ = random.Random(7)
    whole = [picture(40, 30, kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")]
    for index in range(count):
        content = bytearray(whole[index % len(whole)])
        match index % 4:
            case 0:
                del content[random_.randrange(len(content)) :]
            case 1:
                for _ in range(random_.randrange(1, 20)):
                    content[random_.randrange(len(content))] = random_.randrange(256)
            case 2:
                start = random_.randrange(len(content))
                content[start : start + random_.randrange(1, 50)] = random_.randbytes(9)
            case _:
                content[:4] = whole[(index // 4) % len(whole)][:4]
        yield bytes(content)


def broken_requests() -> Iterator[tuple[bytes, str]]:
    """Bodies with their content types."""
    boundary = "multipart/form-data; boundary=x"
    part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    for body in (
        b"", b"--x", b"--x--\r\n", part, part + b"abc", b"x" * 999, part * 50,
        b"--x\r\n\r\n\r\n--x--",
        b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\na\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\na\r\n--x--\r\n',
        part.replace(b"\r\n", b"\n") + b"a\n--x--\n", part.replace(b"images", b"\xff\x00"),
        part + b'a\r\n--x\r\nContent-Disposition: form-data; name="product"\r\n\r\n\0\r\n--x--\r\n',
        b"--x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"--x\r\n" + b"A" * 100_000,
    ):  # fmt: skip
        yield body, boundary
    yield part, "multipart/form-data"
    yield part, "multipart/form-data; boundary="
    yield part, "multipart/form-data; boundary=" + "y" * 5000
    yield part, "text/plain"
    yield part, ""
    for text in (
        b"", b"{", b"null", b"[]", b"{}", b'{"images": []}', b'{"images": [1]}', b"\xff\xfe",
        b'{"images": [{"data": 1}]}', b'{"images": [{"data": "*"}]}', b"[" * 100_000, b"1e999",
        b'{"images": [{"data": "\\ud800"}]}',
        b'{"images": [{"data": "QQ=="}], "product": "\\u0000"}',
        b'{"images": [{"data": "QQ=="}], "product": "\\ud800"}', b'{"images": [{"data": "QQ"}]}',
        b'{"images": [{"data": "QQ==", "url": "http://x"}]}',
        b'{"images": [{"path": "/etc/passwd"}]}',
        b'{"images": [{"data": "QQ==", "name": "' + b"n" * 999 + b'"}]}',
    ):  # fmt: skip
        yield text, "application/json"


def test_broken_input_is_never_the_services_fault(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    client = make()
    statuses = {client.post("/v1/inspect", files=form(picture(20))).status_code}
    open_files = len(os.listdir("/proc/self/fd"))
    for content in broken_images(140):
        answer = client.post("/v1/inspect", content=as_json(content, picture(20)), headers=JSON)
        statuses.add(answer.status_code)
        assert "Traceback" not in answer.text
        assert "id" in answer.json()["results"][1], "a broken image spoiled a good one"
    assert statuses == {200}
    for content in broken_images(56):
        statuses.add(client.post("/v1/inspect", files=form(content)).status_code)
    for body, kind in broken_requests():
        answer = client.post("/v1/inspect", content=body, headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500, (body[:80], kind, answer.text)
        assert ("error" in answer.json()) or answer.json()["results"][0]["error"]
    assert statuses <= {200, 422}
    assert "Traceback" not in caplog.text
    assert client.get("/readyz").status_code == 200
    assert len(os.listdir("/proc/self/fd")) <= open_files + 5  # a few for the pool of the database
    assert "flawsight_images_in_flight 0.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/inspections?min_score=nan", "/v1/inspections?limit=1e9", "/v1/inspections?since=x",
        "/v1/inspections?product=%00", "/v1/inspections?product=%ff", "/v1/inspections?before=../x",
        "/v1/inspections/..%2f..%2fetc%2fpasswd/photo", "/v1/inspections/%00", "/nowhere",
        "/v1/inspections/" + "0" * 32 + "/photo", "/v1/inspections/" + "0" * 32 + "/map.png",
    ],
)  # fmt: skip
def test_nonsense_is_refused(make: Make, path: str) -> None:
    answer = make().get(path)
    assert answer.status_code in (404, 422) or "%ff" in path
    assert answer.json()


def test_the_verb_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    result = CliRunner(env={"FLAWSIGHT_TOKEN": ""}).invoke(
        cli, ["serve", "--host", "0.0.0.0", "--store", str(tmp_path)]
    )
    assert result.exit_code == 2
    no_store = ["labels", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    for refused in (no_store, ["labels", str(tmp_path)], ["export", str(tmp_path)]):
        assert CliRunner().invoke(cli, refused).exit_code == 2
    assert not (tmp_path / "none").exists()


def test_labels_copies_reviewed_photos(make: Make, tmp_path: Path) -> None:
    client = make()
    for width in (20, 21):
        id = client.post("/v1/inspect", files=form(picture(width))).json()["results"][0]["id"]
        client.put(f"/v1/inspections/{id}/review", json={"verdict": "right"})
    out = tmp_path / "out"
    result = CliRunner().invoke(cli, ["labels", str(tmp_path), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert {p.read_bytes(): p.parent.name for p in out.glob("*/*.png")} == {
        picture(20): "bad",
        picture(21): "good",
    }
    assert len(Store(str(tmp_path)).search(Query(reviewed=True))) == 2
