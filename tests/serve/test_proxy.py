"""The service behind a reverse proxy: below a path, asked for by another name."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import pytest
from fastapi.testclient import TestClient

from flawsight.errors import ServeError
from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.public_address import PublicAddress
from flawsight.serve.store import Store
from helpers.browsing import NEEDS_CHROMIUM, opened
from helpers.proxy import PREFIX, proxying
from helpers.serving import BATCH, as_json, inspect_batch, picture, serving

PUBLIC = "https://line3.example"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service behind the proxy, started without any option."""
    store = tmp_path_factory.mktemp("service") / "store"
    with serving(store) as service, proxying(service.port) as address:
        yield address


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [v for k, v in attributes if k in ("src", "href") and v]


def test_every_link_of_the_pages_leads_somewhere(home: str) -> None:
    for page in (home, f"{home}docs"):
        links = Links()
        links.feed(urlopen(page).read().decode())
        assert len(links.found) > 3
        for link in links.found:
            address = urljoin(page, link)
            assert address.startswith(home), link
            assert urlopen(address).status == 200


def post(url: str, body: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with urlopen(Request(url, body, {"Content-Type": "application/json", **named})) as answer:
        return json.load(answer)


def test_the_page_posts_through_the_proxy(home: str) -> None:
    origin = home.partition(PREFIX)[0]
    body = as_json(picture(20))
    sent = {"Origin": origin, "Sec_Fetch_Site": "same-origin"}
    (one,) = post(f"{home}v1/inspect", body, **sent)["results"]
    view = json.load(urlopen(f"{home}v1/inspections/{one['id']}/view"))
    photo = urlopen(urljoin(home, view["photo"]))
    assert photo.headers["Content-Type"] == "image/jpeg"
    for other in ({"Origin": "http://evil.example"}, {**sent, "Sec_Fetch_Site": "cross-site"}):
        with pytest.raises(HTTPError) as refused:
            post(f"{home}v1/inspect", body, **other)
        assert refused.value.code == 403
        assert "--public-origin" in refused.value.read().decode()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    public = PublicAddress(root_path="/flawsight/", origin="HTTPS://Line3.example:443/")
    app = create_app(inspect_batch, BATCH, Store(str(tmp_path)), Limits(rate=0), public=public)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def test_the_public_origin_is_our_own(client: TestClient) -> None:
    for headers, status in (
        ({"Origin": PUBLIC}, 200),
        ({"Origin": PUBLIC, "Host": "line3.example"}, 200),
        ({"Origin": PUBLIC, "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://line3.example"}, 403),
        ({"Origin": f"{PUBLIC}:8443"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
    ):
        answer = client.post("/v1/inspect", files={"images": picture(20)}, headers=headers)
        assert answer.status_code == status, (headers, answer.text)


def test_the_root_path_may_be_stripped_or_not(client: TestClient) -> None:
    for path in ("/", "/docs", "/healthz", "/v1/inspections", "/static/page.js"):
        assert client.get(path).content == client.get(f"{PREFIX}{path}").content
        assert client.get(path).status_code == 200
    assert client.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]
    for path in ("/flawsighthealthz", "/flawsight/flawsight/healthz", "/flawsight"):
        assert client.get(path).status_code == 404


def test_no_redirect_names_another_host(client: TestClient) -> None:
    for path in ("/docs/", "/v1/inspect/", "/v1/inspections/"):
        answer = client.get(path, follow_redirects=False)
        assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "Refused")


@pytest.mark.parametrize(
    "given",
    ["line3.example", "ftp://x", "https://", "https://x/path", "https://u@x", "https://x:y", "x:"],
)
def test_an_origin_that_is_none(given: str) -> None:
    with pytest.raises(ServeError, match=re.escape(given)):
        PublicAddress(origin=given)


def test_addresses_are_brought_into_one_form() -> None:
    assert PublicAddress(root_path="a/b/").root_path == "/a/b"
    assert PublicAddress(root_path="/").root_path == ""
    assert PublicAddress(origin="http://[::1]:8080/").origin == "http://[::1]:8080"
    for path in ("/a b", "/{x}", "https://x/y", "/a//b"):
        with pytest.raises(ServeError, match="root-path"):
            PublicAddress(root_path=path)


class TestInChromium:
    pytestmark = NEEDS_CHROMIUM

    def test_upload_and_review(self, browser: Any, home: str) -> None:
        for page in opened(browser, home, (home, "blob:")):
            file = {"name": "a.png", "mimeType": "image/png", "buffer": picture(20)}
            page.get_by_label("Photos").set_input_files([file])
            page.wait_for_selector(".fs-view")
            page.get_by_role("button", name="Wrong").click()
            page.wait_for_selector("button[aria-pressed=true] >> text=Wrong")
            assert page.locator(".sv-history img").first.evaluate("i => i.naturalWidth") > 0
            page.get_by_role("link", name="API reference").click()
            page.get_by_role("heading", name="POST /v1/inspect", exact=True).wait_for()
            page.get_by_role("link", name="Home").click()
            page.locator(".sv-history tbody tr").first.wait_for()
