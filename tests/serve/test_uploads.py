"""Bodies as clients write them: taken, or refused with what is wrong."""

import base64
import contextlib
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from flawsight.errors import ImageError
from flawsight.serve.app import create_app
from flawsight.serve.base64_images import decode_base64
from flawsight.serve.limits import Limits
from flawsight.serve.store import Store
from helpers.serving import BATCH, inspect_batch, picture

PHOTO = picture(20, kind="JPEG")
PLAIN = base64.b64encode(PHOTO).decode()
FORM = "multipart/form-data; boundary=XX"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = Store(str(tmp_path_factory.mktemp("store")))
    app = create_app(inspect_batch, BATCH, store, Limits(rate=0))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def part(headers: bytes, content: bytes = PHOTO) -> bytes:
    return b"--XX\r\nContent-Disposition: form-data; " + headers + b"\r\n\r\n" + content + b"\r\n"


def post(client: TestClient, body: bytes | str, kind: str = FORM, **headers: str) -> Any:
    content = body if isinstance(body, str) or kind != FORM else body + b"--XX--\r\n"
    return client.post("/v1/inspect", content=content, headers={"Content-Type": kind, **headers})


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (b'name="images"; filename="a.jpg"', "a.jpg"),
        (b'name="images"', None),
        (b'name="images"; filename=""', None),
        (b"name=images; filename=a.jpg", "a.jpg"),
        (b"name=\"images\"; filename*=UTF-8''Pr%C3%BCf.jpg", "Prüf.jpg"),
        (b"name=\"images\"; filename*=iso-8859-1'de'Pr%FCf.jpg", "Prüf.jpg"),
        (b"name=\"images\"; filename*=undefined''a%FC.jpg", None),
        ('name="images"; filename="Prüf.jpg"'.encode(), "Prüf.jpg"),
        ('name="images"; filename="Prüf.jpg"'.encode("latin-1"), "Prüf.jpg"),
        (b'name="images[]"; filename="a.jpg"', "a.jpg"),
        (b'filename="x;y.jpg"; name="images"', "x;y.jpg"),
        (b'name="images"; filename="a"\r\nContent-Type: application/octet-stream', "a"),
        (b'name="images"; filename="a"\r\nContent-Type: text/plain; charset=undefined', "a"),
        (b'name="images"\r\nContent-Type: image/jpeg', None),
        (b'name="images"; filename="a"\r\nContent-Transfer-Encoding: binary', "a"),
    ],
)
def test_a_file_in_a_form_is_taken(client: TestClient, headers: bytes, name: str | None) -> None:
    (result,) = post(client, part(headers)).json()["results"]
    assert (result["name"], result["image_size"]) == (name, [16, 20])


def test_a_file_in_a_form_may_be_in_base64(client: TestClient) -> None:
    headers = b'name="images"; filename="a"\r\nContent-Transfer-Encoding: BASE64'
    (result,) = post(client, part(headers, base64.encodebytes(PHOTO))).json()["results"]
    assert result["image_size"] == [16, 20]


@pytest.mark.parametrize("kind", ["image/jpeg", "image/*", "application/octet-stream", "IMAGE/PNG"])
def test_the_body_may_be_the_image(client: TestClient, kind: str) -> None:
    assert post(client, PHOTO, kind).status_code == 200


def test_the_name_of_a_product_is_never_guessed(client: TestClient) -> None:
    def product(raw: bytes, kind: str = FORM) -> Any:
        field = b'--XX\r\nContent-Disposition: form-data; name="product"\r\n\r\n' + raw + b"\r\n"
        body = part(b'name="images"; filename="a"') + field + b"--XX--\r\n"
        return client.post("/v1/inspect", content=body, headers={"Content-Type": kind})

    for raw, kind in (
        ("Schräubchen".encode(), FORM),
        ("Schräubchen".encode("latin-1"), f"{FORM}; charset=ISO-8859-1"),
    ):
        assert product(raw, kind).json()["results"][0]["product"] == "Schräubchen"
    refused = product("Schräubchen".encode("latin-1"))
    assert (refused.status_code, "product" in refused.text) == (422, True)


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (part(b'name="images"', b"part.jpg"), FORM, 422, "images=@"),
        (part(b'name="file"; filename="a"'), FORM, 422, "'file'"),
        (part(b'name="images"; filename="a"', b""), FORM, 422, "empty"),
        (part(b'name="images"; filename="a"', b"x" * 99), FORM, 422, "not an image"),
        (part(b'name="images"'), f"{FORM}; charset=undefined", 415, "undefined"),
        (part(b'name="images"'), f"{FORM}; charset=hex", 415, "hex"),
        (part(b'name="images"'), "multipart/form-data; boundary=YY", 400, "boundary"),
        (part(b'name="images"'), "multipart/form-data", 400, "no boundary"),
        (part(b'name="images"\r\nContent-Transfer-Encoding: x-uu'), FORM, 415, "x-uu"),
        (b"images=abc", "application/x-www-form-urlencoded", 415, "urlencoded"),
        (b"{}", "application/json; charset=undefined", 415, "undefined"),
        (b'{"images": ["QQ=="]}', "application/json", 422, "images.0"),
    ],
)
def test_what_cannot_be_read_is_named(
    client: TestClient, body: bytes, kind: str, status: int, says: str
) -> None:
    answer = post(client, body, kind)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text
    assert answer.json()


def test_a_body_cut_short_is_named(client: TestClient) -> None:
    whole = part(b'name="images"; filename="a"')
    answer = client.post("/v1/inspect", content=whole, headers={"Content-Type": FORM})
    assert (answer.status_code, "cut short" in answer.text) == (400, True)
    answer = post(client, PHOTO, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, "Content-Encoding" in answer.text) == (415, True)


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        base64.encodebytes(PHOTO).decode(),
        base64.encodebytes(PHOTO).decode().replace("\n", "\r\n"),
        PLAIN.rstrip("="),
        base64.urlsafe_b64encode(PHOTO).decode(),
        f"data:image/jpeg;base64,{PLAIN}",
        f"data:;base64,{urllib.parse.quote(PLAIN, safe='')}",
        f"data:image/jpeg;name=a.jpg;BASE64,\n{PLAIN}\n",
    ],
)
def test_base64_is_taken_as_clients_write_it(client: TestClient, data: str) -> None:
    for kind, encoding in (
        ("application/json", "utf-8"),
        ("application/vnd.api+json", "utf-8-sig"),
        ("application/json; charset=UTF-16", "utf-16"),
    ):
        body = json.dumps({"images": [{"data": data}]}).encode(encoding)
        (result,) = post(client, body, kind).json()["results"]
        assert result["image_size"] == [16, 20]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("data:image/jpeg,abc", ";base64,"),
        ("QQ=Q", "base64"),
        ("QUJDR", "cut short"),
        ("QQ===", "length"),
        ("Q*==", "base64"),
        ("Qü==", "'ü'"),
        ("", "empty"),
        ("=", "base64|empty"),
        ("part.jpg", "base64"),
    ],
)
def test_what_is_not_base64_fails_alone(client: TestClient, data: str, says: str) -> None:
    body = json.dumps({"images": [{"data": data}, {"data": PLAIN}]})
    failed, inspected = post(client, body, "application/json").json()["results"]
    assert "id" in inspected
    assert any(word in failed["error"]["message"] for word in says.split("|")), failed


@given(
    content=st.binary(max_size=80), width=st.integers(1, 20), padded=st.booleans(),
    safe=st.booleans(), prefix=st.sampled_from(["", "data:image/png;base64,", "DATA:;base64,\n"]),
)  # fmt: skip
def test_every_way_of_writing_base64_is_read(
    content: bytes, width: int, padded: bool, safe: bool, prefix: str
) -> None:
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(content).decode()
    text = text if padded else text.rstrip("=")
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    assert decode_base64(prefix + "\r\n".join(lines)) == content


@given(st.text(max_size=30))
def test_any_text_is_base64_or_refused(text: str) -> None:
    with contextlib.suppress(ImageError):
        decode_base64(text)


def test_uploads_are_kept_whole(client: TestClient, tmp_path: Path) -> None:
    """Bytes that look like the form's own are the photo's."""
    photo = picture(20) + b"\r\n--X\r\n--XY\r\n\r\n--" + bytes(range(256)) * 300
    (result,) = post(client, part(b'name="images"; filename="a.png"', photo)).json()["results"]
    assert client.get(f"/v1/inspections/{result['id']}/photo").content == photo
