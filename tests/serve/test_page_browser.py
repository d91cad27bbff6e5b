"""The service's pages in a real Chromium: upload, words, review, history, keyboard, access."""

from collections.abc import Iterator
from typing import Any

import pytest

from helpers.browsing import NEEDS_CHROMIUM, check_access, opened
from helpers.serving import picture, serving

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service") / "store") as service:
        yield f"http://127.0.0.1:{service.port}/"


@pytest.fixture
def page(browser: Any, home: str) -> Iterator[Any]:
    yield from opened(browser, home, (home, "blob:"))


def photo(width: int, name: str = "part.png") -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": picture(width)}


def upload(page: Any, *photos: dict[str, Any]) -> None:
    page.get_by_label("Photos").set_input_files(list(photos))
    page.wait_for_selector(".fs-view")


def focused(page: Any, expression: str) -> Any:
    return page.evaluate(f"(e => {expression})(document.activeElement)")


def tab_to(page: Any, selector: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if focused(page, f"e.matches({selector!r})"):
            return
    pytest.fail(f"the Tab key does not lead to {selector}")


def test_upload_word_review_history(page: Any) -> None:
    page.get_by_label("Product", exact=True).fill("bolt")
    upload(page, photo(20, "<i>20.png"), photo(21) | {"buffer": b"broken"})
    assert "not an image" in page.get_by_role("status").first.inner_text()
    assert "<b>dark</b>" in page.locator(".fs-words").inner_text()
    page.locator(".fs-word").first.hover()
    assert "A" in page.locator(".fs-view .fs-status").inner_text()
    assert page.locator(".sv-history tbody tr").count() == 1
    page.get_by_role("button", name="Wrong").click()
    page.wait_for_selector("button[aria-pressed=true] >> text=Wrong")
    page.reload()
    row = page.locator(".sv-history tbody tr")
    row.wait_for()
    for cell in ("<i>20.png", "bolt", "Defective", "wrong"):
        assert cell in row.inner_text()
    sync_api.expect(row.locator("img")).to_have_js_property("naturalWidth", 20)
    # Past verdicts under another threshold, and how many of the reviewed ones it gets right.
    result = page.locator(".fs-plot .fs-status")
    for threshold, called, alarms in (("0.1", 1, 100), ("0.9", 0, 0)):
        page.get_by_label("Try a threshold").fill(threshold)
        assert f"{called} of 1 predicted defective" in result.inner_text()
        assert f"{alarms} % false alarms among the good" in result.inner_text()
    row.get_by_role("link").click()
    page.wait_for_selector(".fs-view")
    page.get_by_role("button", name="Right").click()
    page.wait_for_selector("button[aria-pressed=true] >> text=Right")
    assert "Above 0.900: 0 of 1" in result.inner_text()


def test_what_disagrees_is_said(page: Any) -> None:
    upload(page, photo(27, "odd.png"))
    warning = page.locator(".fs-warning").inner_text()
    assert warning.startswith("The verdict is good, but the model answered Yes")
    assert "contradiction" in page.locator(".sv-history tbody tr").first.inner_text()


def test_everything_works_from_the_keyboard(page: Any) -> None:
    page.on("filechooser", lambda chooser: None)  # from now on Chromium tells of them
    tab_to(page, "input[type=file][multiple]")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([photo(22, "by key.png")])
    page.wait_for_selector(".fs-view")
    assert focused(page, "e.textContent") == "by key.png"
    tab_to(page, ".fs-word")
    page.keyboard.press("Enter")
    assert focused(page, "e.getAttribute('aria-pressed')") == "true"
    tab_to(page, ".sv-review button:last-child")
    page.keyboard.press("Enter")
    page.wait_for_selector("button[aria-pressed=true] >> text=Wrong")
    assert focused(page, "e.matches('h2')")
    tab_to(page, ".fs-plot input")
    page.keyboard.press("End")
    assert "Above 1.000: 0 of" in page.locator(".fs-plot .fs-status").inner_text()
    tab_to(page, ".sv-history a")
    page.keyboard.press("Enter")
    page.locator("h2:focus").wait_for()


def test_the_api_reference_needs_no_script(page: Any) -> None:
    page.get_by_role("link", name="API reference").click()
    page.get_by_role("heading", name="POST /v1/inspect", exact=True).wait_for()
    assert page.locator("script").count() == 0
    page.get_by_role("link", name="InspectBody").first.click()
    assert page.locator(":target").inner_text() == "InspectBody"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(browser: Any, home: str, scheme: str, width: int) -> None:
    size = {"width": width, "height": 844}
    # The page's own policy would keep axe out.
    for page in opened(
        browser, home, (home, "blob:"), color_scheme=scheme, viewport=size, bypass_csp=True
    ):
        upload(page, photo(23, "with-a-name-as-long-as-cameras-give-them-0000001.png"))
        page.get_by_role("button", name="Right").click()
        page.wait_for_selector("button[aria-pressed=true] >> text=Right")
        check_access(page)
        page.goto(f"{home}docs")
        check_access(page)
