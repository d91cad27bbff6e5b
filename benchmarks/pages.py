"""Puts what a benchmark printed into its section of a page, mostly docs/results.md."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def write_section(name: str, text: str, page: Path = DOCS / "results.md") -> None:
    """Replace what stands between the section's two markers."""
    pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
    content, count = re.subn(
        pattern, lambda m: f"{m[1]}{text}\n{m[2]}", page.read_text(), flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{page} has no section {name!r}.")
    page.write_text(content)
