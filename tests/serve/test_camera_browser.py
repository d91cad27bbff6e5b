"""The live camera of the page, in a real Chromium with a camera of its own making."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.browsing import CHROMIUM, NEEDS_CHROMIUM, check_access, opened
from helpers.serving import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
pytestmark = NEEDS_CHROMIUM
ROWS = ".sv-history tbody tr"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service") / "store") as service:
        yield f"http://127.0.0.1:{service.port}/"


@pytest.fixture(scope="module")
def with_camera(browser: Any) -> Iterator[Any]:
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    chromium = browser.browser_type.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags])
    yield chromium
    chromium.close()


def start(page: Any, seconds: str) -> None:
    page.get_by_text("Live camera").click()
    page.get_by_label("Seconds between two pictures").fill(seconds)
    page.get_by_role("button", name="Start").click()
    page.locator(ROWS).nth(0).wait_for()


def test_pictures_are_inspected_until_it_is_stopped(with_camera: Any, home: str) -> None:
    for page in opened(with_camera, home, (home, "blob:")):
        page.get_by_label("Product", exact=True).fill("bolt")
        start(page, "0.3")
        stop = page.get_by_role("button", name="Stop")
        assert stop.evaluate("e => e === document.activeElement")
        page.locator(ROWS).nth(2).wait_for()
        # The results come in, and leave the focus where it is.
        assert stop.evaluate("e => e === document.activeElement")
        assert "pictures sent" in page.locator(".sv-camera [role=status]").inner_text()
        assert page.get_by_label("Camera in use").locator("option").count() >= 1
        stop.click()
        assert page.evaluate("document.querySelector('video').srcObject") is None
        page.wait_for_timeout(500)  # the last one may be on its way
        count = page.locator(ROWS).count()
        page.wait_for_timeout(800)
        assert page.locator(ROWS).count() == count
        with urllib.request.urlopen(f"{home}v1/inspections") as answer:
            stored = json.load(answer)["inspections"]
        assert len(stored) == count
        assert {one["product"] for one in stored} == {"bolt"}
        assert all(one["name"].startswith("camera-") for one in stored)
        with urllib.request.urlopen(f"{home}v1/inspections/{stored[0]['id']}/photo") as answer:
            assert answer.read(2) == b"\xff\xd8"
        page.get_by_role("button", name="Start").click()  # once more
        page.locator(ROWS).nth(count).wait_for()
        stop.click()


def test_a_camera_that_is_refused_is_told(with_camera: Any, home: str) -> None:
    refuse = """name => {
        navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', name); };
    }"""
    for page in opened(with_camera, home, (home, "blob:")):
        page.get_by_text("Live camera").click()
        for name, said in (("NotAllowedError", "not allowed"), ("NotFoundError", "no camera")):
            page.evaluate(refuse, name)
            page.get_by_role("button", name="Start").click()
            status = page.locator(".sv-camera [role=status]")
            sync_api.expect(status).to_contain_text(said)


def test_without_https_it_says_why_there_is_none(with_camera: Any, home: str) -> None:
    for page in opened(with_camera, home, (home, "blob:")):
        # As a browser has it over http on another host, which this service would refuse.
        page.add_init_script("delete Navigator.prototype.mediaDevices")
        page.reload()
        page.get_by_text("Live camera").click()
        assert "only over https or on localhost" in page.locator(".sv-camera").inner_text()
        assert page.get_by_role("button", name="Start").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(with_camera: Any, home: str, scheme: str, width: int) -> None:
    size = {"width": width, "height": 844}
    # The page's own policy would keep axe out.
    for page in opened(
        with_camera, home, (home, "blob:"), color_scheme=scheme, viewport=size, bypass_csp=True
    ):
        start(page, "60")
        check_access(page)
        page.get_by_role("button", name="Stop").click()
