"""Puts what a benchmark printed into its section of docs/results.md."""

import re
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "docs" / "results.md"


def write_section(name: str, text: str) -> None:
    """Replace what stands between the section's two markers."""
    page = RESULTS.read_text()
    pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
    page, count = re.subn(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{RESULTS} has no section {name!r}.")
    RESULTS.write_text(page)
