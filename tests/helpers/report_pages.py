"""The report's page as a parser sees it."""

import json
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """The elements of a page and its blocks of JSON."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.json: dict[str, dict] = {}
        self._id: str | None = None
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        is_json = dict(attrs).get("type") == "application/json"
        self._id = dict(attrs)["id"] if is_json else None

    def handle_data(self, data: str) -> None:
        if self._id:
            self.json[self._id] = json.loads(data)
            self._id = None
