"""The page at / in a real Chromium: upload, words, review, history."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import picture, serving

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, in PATH or named by CHROMIUM"),
]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """The page; an error, or a request to another place, fails the test."""
    faults: list[str] = []
    with serving(tmp_path / "store") as service, sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        home = f"http://127.0.0.1:{service.port}/"
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on(
            "request", lambda r: None if r.url.startswith((home, "blob:")) else faults.append(r.url)
        )
        page.goto(home)
        yield page
        chromium.close()
    assert faults == []


def test_upload_word_review_history(page: Any) -> None:
    photos = [
        {"name": f"<i>{width}</i>.png", "mimeType": "image/png", "buffer": content}
        for width, content in ((20, picture(20)), (21, b"broken"))
    ]
    page.get_by_label("Product").fill("bolt")
    page.get_by_label("Photos").set_input_files(photos)
    page.wait_for_selector(".fs-view")
    assert "not an image" in page.get_by_role("status").first.inner_text()
    assert "<b>dark</b>" in page.locator(".fs-words").inner_text()
    page.locator(".fs-word").first.hover()
    assert "A" in page.locator(".fs-status").inner_text()
    assert page.locator(".sv-history tbody tr").count() == 1
    page.get_by_role("button", name="Wrong").click()
    page.wait_for_selector("button[aria-pressed=true] >> text=Wrong")
    page.reload()
    row = page.locator(".sv-history tbody tr")
    row.wait_for()
    cells = row.inner_text()
    assert "bolt" in cells
    assert "Defective" in cells
    assert "wrong" in cells
    assert "of 1 reviewed ones 0 wrongly" in page.locator(".sv-threshold output").inner_text()
    page.get_by_label("A threshold of").fill("0.1")
    assert "of 1 reviewed ones 1 wrongly" in page.locator(".sv-threshold output").inner_text()
    row.get_by_role("link").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".fs-view")
