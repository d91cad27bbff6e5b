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
