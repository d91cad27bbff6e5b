"""The service behind a reverse proxy: below a path, asked for by another name."""

import json
import re
import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import pytest
from fastapi.testclient import TestClient

from flawsight.errors import ServeError
from flawsight.serve.access_tokens import AccessTokens
from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.public_address import PublicAddress
from flawsight.serve.store import Store
from helpers.browsing import NEEDS_CHROMIUM, opened
from helpers.proxy import PREFIX, certificate, free_port, proxying
from helpers.serving import BATCH, as_json, inspect_batch, picture, serving, serving_here

PUBLIC = "https://line3.example"
TOKEN = "a-token-of-the-tests"
LOGIN = {"Authorization": f"Basic {b64encode(f'anyone:{TOKEN}'.encode()).decode()}"}


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


@dataclass(frozen=True)
class Secure:
    """A service with a token behind a proxy that ends TLS."""

    address: str
    trusting: ssl.SSLContext

    def send(self, path: str, body: bytes | None = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {"Content-Type": "application/json"} if body else {}
        request = Request(urljoin(self.address, path), body, kind | named)
        return urlopen(request, context=self.trusting)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder, at = tmp_path_factory.mktemp("secure"), free_port()
    pem = certificate(folder)
    options = {
        "tokens": AccessTokens(TOKEN),
        "public": PublicAddress(origin=f"https://localhost:{at}"),
    }
    with (
        serving_here(folder / "store", options=options) as port,
        proxying(port, at, pem) as address,
    ):
        yield Secure(address, ssl.create_default_context(cafile=str(pem)))


def refused(secure: Secure, path: str, body: bytes | None = None, **headers: str) -> HTTPError:
    with pytest.raises(HTTPError) as error:
        secure.send(path, body, **headers)
    return error.value


def test_pages_links_and_login_over_tls(secure: Secure) -> None:
    for path in ("", "docs", "v1/inspections", "metrics"):
        answer = refused(secure, path)
        assert (answer.code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert secure.send(path, Authorization=f"Bearer {TOKEN}").status == 200
    assert secure.send("readyz").status == 200
    for path in ("", "docs"):
        page, links = urljoin(secure.address, path), Links()
        answer = secure.send(path, **LOGIN)
        # The browser keeps the login; there is no cookie to protect.
        assert answer.headers["Set-Cookie"] is None
        links.feed(answer.read().decode())
        for link in links.found:
            address = urljoin(page, link)
            assert address.startswith(secure.address), link
            assert secure.send(address, **LOGIN).status == 200
    assert refused(secure, "docs/", **LOGIN).code == 404  # and no redirect to http://


def test_the_page_posts_over_tls(secure: Secure) -> None:
    body, origin = as_json(picture(20)), secure.address.rstrip("/")
    for own in (
        {"Origin": origin, "Sec_Fetch_Site": "same-origin"},
        {"Origin": origin},  # a browser without Sec-Fetch-Site
        {},  # curl
    ):
        (one,) = json.load(secure.send("v1/inspect", body, **LOGIN, **own))["results"]
        view = json.load(secure.send(f"v1/inspections/{one['id']}/view", **LOGIN))
        photo = urljoin(secure.address, view["photo"])
        assert photo.startswith(secure.address)
        assert secure.send(photo, **LOGIN).headers["Content-Type"] == "image/jpeg"
    for other in (
        {"Origin": origin.replace("https", "http"), "Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": origin, "Sec_Fetch_Site": "same-site"},
    ):
        assert refused(secure, "v1/inspect", body, **LOGIN, **other).code == 403
    assert refused(secure, "v1/inspect", body, Origin=origin).code == 401


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

    @pytest.mark.slow
    def test_login_and_upload_over_tls(self, browser: Any, secure: Secure) -> None:
        options = {
            "ignore_https_errors": True,  # of the certificate that nobody signed
            "http_credentials": {"username": "anyone", "password": TOKEN},
        }
        home = secure.address
        for page in opened(browser, home, (home, "blob:"), **options):
            file = {"name": "tls.png", "mimeType": "image/png", "buffer": picture(20)}
            page.get_by_label("Photos").set_input_files([file])
            page.wait_for_selector(".fs-view")
            page.get_by_role("button", name="Right").click()
            page.wait_for_selector("button[aria-pressed=true] >> text=Right")
            page.get_by_role("link", name="API reference").click()
            page.get_by_role("heading", name="POST /v1/inspect", exact=True).wait_for()
