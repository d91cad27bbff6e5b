"""The review queue, filters and thresholds on the page, in a real Chromium, by the keyboard."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.browsing import NEEDS_CHROMIUM, check_access, opened
from helpers.serving import picture, serving

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
pytestmark = NEEDS_CHROMIUM
# The stand-in scores a photo by its width in percent; without a threshold one half is uncertain.
WIDTHS = (45, 48, 53, 20, 91)
BEGIN = "Review, the uncertain first"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def home(store: Path) -> Iterator[str]:
    with serving(store) as service:
        yield f"http://127.0.0.1:{service.port}/"


def upload(page: Any, *widths: int) -> None:
    photos = [
        {"name": f"{width}.png", "mimeType": "image/png", "buffer": picture(width)}
        for width in widths
    ]
    page.get_by_label("Photos").set_input_files(photos)
    page.locator("h2", has_text=f"{widths[0]}.png").wait_for()


def reviews(page: Any, home: str) -> dict[str, bool]:
    rows = page.request.get(f"{home}v1/inspections?reviewed=true").json()["inspections"]
    return {row["name"]: row["review"]["true_label"] for row in rows}


def test_reviews_filters_and_thresholds(browser: Any, home: str, store: Path) -> None:
    expect = sync_api.expect
    for page in opened(browser, home, (home, "blob:")):
        upload(page, *WIDTHS)
        rows = page.locator(".sv-history tbody tr")
        expect(rows).to_have_count(5)

        # One key a verdict, the uncertain first.
        page.get_by_role("button", name=BEGIN).focus()
        page.keyboard.press("Enter")
        shown = page.locator("h2:focus")
        for key, after in (("", "48"), ("d", "53"), ("s", "45"), ("G", "20"), ("u", "45")):
            if key:
                page.keyboard.press(key)
            expect(shown).to_have_text(f"{after}.png")
        assert reviews(page, home) == {"48.png": True}
        expect(page.locator(".sv-queue p")).to_contain_text("Score 0.450, the answer decides")
        page.keyboard.press("g")
        expect(shown).to_have_text("20.png")
        for key, said in (("g", "20.png: good."), ("d", "91.png: defective.")):
            page.keyboard.press(key)
            expect(page.locator("main > p[role=status]")).to_have_text(said)
        expect(page.locator(".sv-queue p")).to_have_text("Nothing is left to review.")
        page.keyboard.press("Escape")
        expect(page.locator(".sv-queue")).to_be_hidden()
        known = {"48.png": True, "45.png": False, "20.png": False, "91.png": True}
        assert reviews(page, home) == known
        page.keyboard.press("d")  # counts no more
        assert reviews(page, home) == known

        # Filters, and what a training would use.
        page.get_by_label("Disagreement").select_option("Yes")
        expect(rows).to_have_count(3)
        page.get_by_label("Lowest score").fill("0.5")
        page.get_by_label("Lowest score").press("Enter")
        expect(rows).to_have_count(2)
        page.get_by_label("Until", exact=True).fill("2020-01-01")
        expect(rows).to_have_count(0)
        page.get_by_role("button", name="Clear").click()
        expect(rows).to_have_count(5)
        products = page.get_by_role("region", name="Products and thresholds")
        expect(products).to_contain_text("2 photos reviewed as good and the 2 as defective")
        page.get_by_role("button", name="List them").click()
        expect(rows).to_have_count(4)

        # A threshold: what it would change, before it is saved.
        page.get_by_role("button", name="Change the threshold of No product").click()
        page.get_by_label("Defective above").fill("0.46")
        effect = page.locator(".sv-threshold p")
        expect(effect).to_contain_text("2 as inspected, 3 by this threshold")
        expect(effect).to_contain_text(
            "False alarms among the 2 reviewed as good: 1 as inspected, 0"
        )
        expect(effect).to_contain_text(
            "Missed among the 2 reviewed as defective: 1 as inspected, 0"
        )
        page.get_by_role("button", name="Save").click()
        expect(page.locator("main > p[role=status]")).to_contain_text("defective above 0.460")
        upload(page, 40)
        expect(page.locator(".fs-verdict")).to_contain_text("Good")
        page.get_by_role("button", name="Remove the saved one").click()
        expect(page.locator("main > p[role=status]")).to_contain_text("judged by the answer")

        # What the store cannot read is said.
        with sqlite3.connect(store / "flawsight.db") as database:
            ((id,),) = database.execute("SELECT id FROM inspections WHERE name = '53.png'")
            database.execute("UPDATE inspections SET content = '{' WHERE id = ?", (id,))
        page.reload()
        expect(rows).to_have_count(5)
        page.get_by_text("Damaged in the store, and left out here: 1").click()
        expect(page.locator(".sv-failed p")).to_contain_text(id)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_serious_fault(browser: Any, home: str, scheme: str, width: int) -> None:
    size = {"width": width, "height": 844}
    for page in opened(
        browser, home, (home, "blob:"), color_scheme=scheme, viewport=size, bypass_csp=True
    ):
        upload(page, 45, 52)
        page.get_by_role("button", name="Change the threshold of No product").click()
        page.locator(".sv-threshold p", has_text="by this threshold").wait_for()
        page.get_by_role("button", name=BEGIN).click()
        page.locator("h2:focus", has_text="52.png").wait_for()
        check_access(page)
