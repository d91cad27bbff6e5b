"""Puts the figures of docs/performance/*.json into docs/performance.md.

python benchmarks/performance.py --write
"""

import argparse
import json
import re
from pathlib import Path

from measure import FIGURES, table

PAGE = FIGURES.parent / "performance.md"


def filled(page: str, figures: Path) -> str:
    """Return the page with each section's table as its JSON gives it."""

    def section(match: re.Match[str]) -> str:
        path = figures / f"{match[2]}.json"
        shown = table(json.loads(path.read_text())) if path.exists() else "Not measured yet."
        if path.with_suffix(".png").exists():
            shown += f"\n\n![{match[2]}]({figures.name}/{match[2]}.png)"
        return f"{match[1]}{shown}\n{match[3]}"

    return re.sub(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", section, page, flags=re.DOTALL)


def main() -> None:
    """Fill the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="without it, only say what would be")
    arguments = parser.parse_args()
    page = PAGE.read_text()
    text = filled(page, FIGURES)
    if arguments.write:
        PAGE.write_text(text)
    else:
        print("up to date" if text == page else "docs/performance.md would change")


if __name__ == "__main__":
    main()
