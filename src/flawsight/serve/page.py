"""The page at /, and what it loads: its own files, and the viewer that the report has too."""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import Response

_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}


def add_page(app: FastAPI) -> None:
    """Serve the page. Its files are read once, by names that are not a client's."""
    own, shared = files("flawsight.serve") / "static", files("flawsight.report") / "static"
    _add(app, "/", (own / "index.html").read_bytes(), "html")
    for folder, name in (
        (own, "page.js"), (own, "page.css"), (own, "icon.svg"),
        (shared, "viewer.js"), (shared, "viewer.css"),
    ):  # fmt: skip
        _add(app, f"/static/{name}", (folder / name).read_bytes(), name.rpartition(".")[2])


def _add(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    async def send() -> Response:
        return Response(content, media_type=_TYPES[kind])

    app.get(path, include_in_schema=False)(send)
