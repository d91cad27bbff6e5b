"""A real Chromium for the tests of pages."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, in PATH or named by CHROMIUM"),
]


def opened(browser: Any, address: str, own: tuple[str, ...], **options: Any) -> Iterator[Any]:
    """Yield the page; an error, or a request to anything but `own`, fails the test."""
    context = browser.new_context(**options)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(own) else faults.append(r.url))
    page.goto(address)
    yield page
    context.close()
    assert faults == []


def check_access(page: Any) -> None:
    """Check that a page does not scroll sideways, and that axe finds no serious fault in it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe").Axe()
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, "scrolls sideways"
    found = axe.run(page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert not serious, [
        (fault["id"], node["html"], node["failureSummary"])
        for fault in serious
        for node in fault["nodes"]
    ]
