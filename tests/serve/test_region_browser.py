"""Drawing the region of interest of a product on the page, in a real Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flawsight.roi import Roi
from helpers.browsing import NEEDS_CHROMIUM, check_access, opened
from helpers.serving import inspect_batch, picture, serving_here

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def home(tmp_path: Path) -> Iterator[str]:
    options = {"cut_to": lambda roi: inspect_batch, "about": {"model_sha256": "a"}}
    with serving_here(tmp_path / "store", options=options) as port:
        yield f"http://127.0.0.1:{port}/"


def upload(page: Any, name: str) -> None:
    page.get_by_label("Product", exact=True).fill("bolt")
    photo = {"name": name, "mimeType": "image/png", "buffer": picture(400, 300)}
    page.get_by_label("Photos").set_input_files([photo])
    page.locator("h2", has_text=name).wait_for()


def edit(page: Any) -> Any:
    page.get_by_role("button", name="Region of interest of bolt").click()
    frame = page.locator(".sv-region")
    sync_api.expect(frame.locator("img")).to_have_js_property("naturalWidth", 400)
    return frame


def test_a_region_is_drawn_saved_applied_and_removed(browser: Any, home: str) -> None:
    status = "main > p[role=status]"
    for page in opened(browser, home, (home, "blob:")):
        upload(page, "before.png")
        frame = edit(page)
        frame.scroll_into_view_if_needed()
        place = frame.bounding_box()
        x, y, width, height = (place[side] for side in ("x", "y", "width", "height"))
        page.mouse.move(x + 0.75 * width, y + 0.5 * height)
        page.mouse.down()
        page.mouse.move(x + 0.5 * width, y + 0.3 * height)
        page.mouse.move(x + 0.25 * width, y + 0.2 * height)
        page.mouse.up()
        page.mouse.move(x + 0.1 * width, y + 0.1 * height)  # no longer draws
        box = page.locator(".sv-box").bounding_box()
        assert box["x"] == pytest.approx(x + 0.25 * width, abs=2)
        assert box["width"] == pytest.approx(0.5 * width, abs=2)
        page.get_by_role("button", name="Save the region").click()
        sync_api.expect(page.locator(status)).to_contain_text("inside of the region alone")
        upload(page, "after.png")
        after, before = page.request.get(f"{home}v1/inspections").json()["inspections"]
        assert before["roi_setting"] is None
        roi = Roi.parse(after["roi_setting"])
        assert roi.percent
        assert roi.box == pytest.approx((25, 20, 50, 30), abs=0.6)

        # By the keyboard.
        edit(page)
        width_field = page.get_by_label("Width, %")
        width_field.fill("90")
        said = page.locator(".sv-regions [role=status]")
        sync_api.expect(said).to_contain_text("end within the photo")
        assert page.get_by_role("button", name="Save the region").is_disabled()
        page.get_by_label("Left, %").fill("5")
        page.get_by_role("button", name="Save the region").press("Enter")
        sync_api.expect(page.locator(status)).to_contain_text("inside of the region alone")
        edit(page)
        page.get_by_role("button", name="Remove the region").click()
        sync_api.expect(page.locator(status)).to_contain_text("inspected whole")
        upload(page, "last.png")
        last = page.request.get(f"{home}v1/inspections").json()["inspections"][0]
        assert last["roi_setting"] is None


def test_photos_without_a_product_have_a_region_of_their_own(browser: Any, home: str) -> None:
    for page in opened(browser, home, (home, "blob:")):
        photo = {"name": "none.png", "mimeType": "image/png", "buffer": picture(300, 200)}
        page.get_by_label("Photos").set_input_files([photo])
        page.locator("h2", has_text="none.png").wait_for()
        upload(page, "bolt.png")
        page.get_by_role("button", name="Region of interest of No product").click()
        image = page.locator(".sv-region img")
        sync_api.expect(image).to_have_js_property("naturalWidth", 300)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(browser: Any, home: str, scheme: str, width: int) -> None:
    size = {"width": width, "height": 844}
    # The page's own policy would keep axe out.
    for page in opened(
        browser, home, (home, "blob:"), color_scheme=scheme, viewport=size, bypass_csp=True
    ):
        upload(page, "part.png")
        edit(page)
        check_access(page)
