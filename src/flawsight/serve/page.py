"""The pages / and /docs, with the viewer that the report uses too.

All files come from this package, and no script or style is inline, as the strict content security
policy in access.py requires.
"""

from functools import cache
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader

from ..report.write_report import VIEWER

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_OWN = (
    "page.js", "references.js", "drift.js", "filters.js", "queue.js", "products.js", "region.js",
    "camera.js",
    "page.css", "icon.svg",
)  # fmt: skip


def add_page(app: FastAPI) -> None:
    """Serve the pages. Their files are read once, at the start."""
    own, shared = files("flawsight.serve") / "static", files("flawsight.report") / "static"
    served = {"/": own / "index.html"}
    served |= {f"/static/{name}": own / name for name in _OWN}
    served |= {f"/static/{name}": shared / name for name in (*VIEWER, "charts.js", "viewer.css")}
    for path, file in served.items():
        _add(app, path, file.read_bytes(), _TYPES[file.name.rpartition(".")[2]])

    @cache
    def document() -> str:
        # The usual scripts for OpenAPI are larger than this package and need inline styles.
        environment = Environment(loader=PackageLoader("flawsight.serve"), autoescape=True)
        return environment.get_template("docs.html").render(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(document())


def _add(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    async def send() -> Response:
        return Response(content, media_type=media_type)

    app.get(path, include_in_schema=False)(send)
