"""Links between pages of the repository → links between pages of the site."""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath, relpath

ROOT = Path(__file__).parents[1]
# Pages of the site that are files elsewhere in the repository than in docs/.
TAKEN = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
# Where files lie that a page links to and that are no pages.
FILES = "repository"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def source_of(page: str) -> str | None:
    """Return the file of the repository that a page of the site is; None if the page is made."""
    for source, taken in TAKEN.items():
        if page == taken:
            return source
    return f"docs/{page}" if (ROOT / "docs" / page).is_file() else None


def place_of(path: str) -> str:
    """Return where a file of the repository lies on the site."""
    if path in TAKEN:
        return TAKEN[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{FILES}/{path}"


def targets(markdown: str, source: str) -> Iterator[str]:
    """Yield the files of the repository that a page of it links to.

    Args:
        markdown: of the page.
        source: its path in the repository.
    """
    for link in _LINK.findall(markdown):
        yield normpath(f"{source}/../{link}")


def linked_files() -> list[str]:
    """Return the files of the repository that pages link to and that are no pages."""
    sources = [*TAKEN, *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
    found = {
        target
        for source in sources
        for target in targets((ROOT / source).read_text(encoding="utf-8"), source)
    }
    return sorted(one for one in found if place_of(one).startswith(f"{FILES}/"))


def relocated(markdown: str, source: str, page: str) -> str:
    """Return a page of the repository with its links as they are on the site.

    Args:
        markdown: of the page.
        source: its path in the repository.
        page: its path on the site.
    """

    def moved(link: re.Match[str]) -> str:
        return relpath(place_of(normpath(f"{source}/../{link[1]}")), f"{page}/..")

    return _LINK.sub(moved, markdown)
