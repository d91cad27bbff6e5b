"""References on the page, in a real Chromium: choose a product, add a good photo, remove one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flawsight.reference.memory import Reference
from helpers.browsing import NEEDS_CHROMIUM, check_access, opened
from helpers.good_photos import part, png, write_reference
from helpers.serving import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("references")
    made = {name: folder / f"{name}.reference" for name in ("bolt & Schraube", "nut")}
    for brightness, file in zip((100, 200), made.values(), strict=True):
        write_reference(file, brightness)
    return made


@pytest.fixture(scope="module")
def home(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service") / "store", references=files) as service:
        yield f"http://127.0.0.1:{service.port}/"


def upload(page: Any, name: str, seed: int, brightness: int) -> None:
    content = png(part(seed, brightness))
    page.get_by_label("Photos").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": content}]
    )
    page.locator("h2", has_text=name).wait_for()


def status(page: Any) -> Any:
    return page.locator("main > p[role=status]")


def test_a_photo_is_compared_learned_and_removed(
    browser: Any, home: str, files: dict[str, Path]
) -> None:
    expect = sync_api.expect
    for page in opened(browser, home, (home, "blob:")):
        bolt = page.locator("details", has_text="bolt & Schraube")
        page.get_by_label("Product", exact=True).select_option("bolt & Schraube")
        upload(page, "odd.png", 60, 140)
        assert "Defective" in page.locator(".fs-verdict").inner_text()
        compared = page.locator(".sv-compared")
        assert "good photos of bolt & Schraube" in compared.inner_text()
        assert (
            "Not asked: the reference calls it defective" in page.locator(".fs-view").inner_text()
        )
        # What it should look like, beside the only region.
        expect(page.locator(".fs-compare canvas")).to_have_count(2)
        expect(page.locator(".fs-compare")).to_contain_text("0.png")
        adding = page.get_by_role("button", name="Add to the reference")
        assert adding.count() == 0  # before the review
        page.get_by_role("button", name="Wrong").click()
        bolt.locator("summary").click()
        expect(bolt.locator("li")).to_have_count(4)
        adding.click()
        expect(status(page)).to_contain_text("compared with 5 good ones")
        expect(bolt.locator("li")).to_have_count(5)
        expect(adding).to_have_count(0)  # nor after it was added
        assert bolt.locator("li span").first.inner_text() == "odd.png"  # the odd one comes first
        expect(bolt.locator("img").first).to_have_js_property("naturalWidth", 24)
        upload(page, "later.png", 61, 140)
        assert "Good" in page.locator(".fs-verdict").inner_text()
        page.get_by_role("link", name="odd.png").click()
        expect(compared).to_contain_text("The reference has changed since.")

        page.on("dialog", lambda dialog: dialog.accept())
        bolt.get_by_role("button", name="Remove odd.png").click()
        expect(status(page)).to_contain_text("compared with 4 good ones")
        expect(bolt.locator("li")).to_have_count(4)
        assert page.evaluate("document.activeElement.matches('summary')")
        page.get_by_role("link", name="odd.png").click()
        expect(adding).to_have_count(1)

        page.get_by_label("Product", exact=True).select_option("nut")
        upload(page, "nut.png", 62, 200)
        rows = page.locator(".sv-history tbody tr")
        expect(rows).to_have_count(3)
        assert page.locator(".fs-plot").count() == 0  # one threshold would be of no use to both
        page.get_by_label("Show", exact=True).select_option("nut")
        expect(rows).to_have_count(1)
        threshold = Reference.load(files["nut"]).threshold()
        shown = float(page.get_by_label("Try a threshold").input_value())
        assert shown == pytest.approx(threshold, abs=0.0025)
        page.get_by_label("Product", exact=True).select_option("bolt & Schraube")
        upload(page, "last.png", 63, 100)
        expect(rows).to_have_count(4)


def test_a_photo_of_no_product_is_not_inspected(browser: Any, home: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(home)
    page.get_by_label("Product", exact=True).locator("option", has_text="nut").wait_for(
        state="attached"
    )
    content = png(part(70))
    page.get_by_label("Photos").set_input_files(
        [{"name": "a.png", "mimeType": "image/png", "buffer": content}]
    )
    sync_api.expect(status(page)).to_contain_text("names no product")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(browser: Any, home: str, scheme: str, width: int) -> None:
    size = {"width": width, "height": 844}
    for page in opened(
        browser, home, (home, "blob:"), color_scheme=scheme, viewport=size, bypass_csp=True
    ):
        page.get_by_label("Product", exact=True).select_option("nut")
        upload(page, f"with-a-name-as-long-as-cameras-give-them-{width}-{scheme}.png", 80, 200)
        for summary in page.locator("section[aria-label=References] summary").all():
            summary.click()
        check_access(page)
