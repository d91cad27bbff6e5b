"""Run folder → report.html, which opens offline.

Few images: one file. Many: the page holds a line of each, and loads thumbnails and what it shows
of one image when they are looked at, from scripts and pictures beside it, for a page opened from a
disk may load nothing else:

    report/thumbs/*.jpg
    report/views-1/*.js     `flawsight.receive(view)`; see view.py
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from ..data.images import read_image
from ..errors import FlawsightError, RunFolderError
from ..inspection import FloatArray
from ..run_folder import Row, read_description, read_rows, slug, write_atomically, writing_to
from .overlay import MAX_SIDE, encode_jpeg
from .view import summary_of, view_of

ONE_FILE_UP_TO = 40
THUMB_SIDE = 256
# With the format of the views in its name: another version of flawsight writes its own.
VIEWS = "report/views-1"
THUMBS = "report/thumbs"
_SCRIPTS = ("viewer.js", "figures.js", "gallery.js", "report.js")


def write_report(
    folder: Path, labels: Mapping[str, bool] | None = None, one_file: bool | None = None
) -> Path:
    """Write the report of a run and return its path.

    Args:
        folder: of the run, of this or an older version.
        labels: the truth by image path, True for defective; what is not in it is unknown.
        one_file: whether everything goes into report.html; None decides by the number of images.

    Raises:
        RunFolderError: if the folder holds no readable run, or cannot be written.
    """
    rows, labels = read_rows(folder), labels or {}
    if one_file is None:
        one_file = len(rows) <= ONE_FILE_UP_TO
    with writing_to(folder):
        for name in ("photos", *(() if one_file else (VIEWS, THUMBS))):
            (folder / name).mkdir(parents=True, exist_ok=True)
        items, inlined = [], []
        for row in rows:
            label = labels.get(row["image"])
            if "error" in row:
                items.append(summary_of(row, slug(row["image"]), None, label))
                continue
            place = _inline if one_file else _beside
            thumb, view = place(folder, row, label)
            items.append(summary_of(row, slug(row["image"]), thumb, label))
            inlined += [view] if view else []
        _shorten_names(items)
        path = folder / "report.html"
        write_atomically(path, _page(read_description(folder), items, inlined).encode())
    return path


def _shorten_names(items: list[dict[str, Any]]) -> None:
    """Name each image by its path below the folder that all share: 000.png may occur in many."""
    parts = [PurePath(item["path"]).parts for item in items]
    shared = 0
    while len({one[shared] if shared + 1 < len(one) else None for one in parts} - {None}) == 1:
        shared += 1
    for item, one in zip(items, parts, strict=True):
        item["name"] = "/".join(one[min(shared, len(one) - 1) :])


def _inline(folder: Path, row: Row, label: bool | None) -> tuple[str | None, dict[str, Any]]:
    """Return the thumbnail as a data URL, and the view with its photo as one."""
    photo, has_map = _photo(folder, row)
    thumb = url = None
    if photo is not None:
        content = (folder / photo).read_bytes()
        if has_map:  # a large PNG
            with Image.open(folder / photo) as image:
                content = encode_jpeg(image.convert("RGB"), MAX_SIDE)
        url, thumb = _data_url(content), _data_url(_thumbnail(folder / photo))
    return thumb, _view(folder, row, url, label, has_map)


def _beside(folder: Path, row: Row, label: bool | None) -> tuple[str | None, None]:
    """Write thumbnail and view beside the page, unless they are there; return the first's URL."""
    photo, has_map = _photo(folder, row)
    name = slug(row["image"])
    thumb, script = f"{THUMBS}/{name}.jpg", f"{VIEWS}/{name}.js"
    if photo is not None and not _is_fresh(folder / thumb, folder / photo):
        write_atomically(folder / thumb, _thumbnail(folder / photo))
    source = folder / (row.get("anomaly_map") or "inspections.jsonl")
    if not _is_fresh(folder / script, source):
        # The truth may become known later: the page has it, the view has not.
        view = _view(folder, row, photo, None, has_map)
        write_atomically(folder / script, f"flawsight.receive({_json(view)});\n".encode())
    return None if photo is None else thumb, None


def _photo(folder: Path, row: Row) -> tuple[str | None, bool]:
    """Return the photo's place in the folder, and whether the map is painted into it.

    Older versions and other programs kept no photo: it is made from the original, or else the
    overlay stands for it.
    """
    path = row.get("photo") or f"photos/{slug(row['image'])}.jpg"
    if (folder / path).exists():
        return path, False
    try:
        write_atomically(folder / path, encode_jpeg(read_image(row["image"]), MAX_SIDE))
    except FlawsightError:
        overlay = row.get("overlay")
        return (overlay, True) if overlay and (folder / overlay).exists() else (None, False)
    return path, False


def _view(
    folder: Path, row: Row, photo: str | None, label: bool | None, has_map: bool
) -> dict[str, Any]:
    anomaly_map, token_maps = (_array(folder, row, name) for name in ("anomaly_map", "token_maps"))
    return view_of(
        row, slug(row["image"]), photo, anomaly_map, token_maps, label=label, photo_has_map=has_map
    )


def _array(folder: Path, row: Row, name: str) -> FloatArray | None:
    if name not in row:
        return None
    try:
        with np.load(folder / row[name]) as arrays:
            array: FloatArray = arrays[name].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise RunFolderError(f"{folder / row[name]} cannot be read: {error}") from error
    return array


def _thumbnail(path: Path) -> bytes:
    with Image.open(path) as image:
        image.draft("RGB", (THUMB_SIDE, THUMB_SIDE))  # decodes a JPEG no larger than needed
        return encode_jpeg(image.convert("RGB"), THUMB_SIDE)


def _is_fresh(path: Path, source: Path) -> bool:
    return path.exists() and path.stat().st_mtime >= source.stat().st_mtime


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _json(value: Any) -> str:
    """Return ASCII JSON that can stand in a <script>: no tag begins in it."""
    return json.dumps(value).replace("<", "\\u003c")


def _page(run: dict[str, Any], items: list[dict[str, Any]], views: list[dict[str, Any]]) -> str:
    static = files("flawsight.report") / "static"
    script = "\n".join((static / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    style = (static / "viewer.css").read_text(encoding="utf-8")
    model = run.get("model", {})
    about = {
        "model": model.get("name") or run.get("detector"),
        "sha256": model.get("sha256"),
        "created": run["created"],
        "version": run["versions"]["flawsight"],
        "threshold": run.get("threshold"),
        "views": VIEWS,
    }
    environment = Environment(loader=PackageLoader("flawsight.report"), autoescape=True)
    return environment.get_template("report.html").render(
        script=Markup(script),
        script_hash=_hash(script),
        style=Markup(style),
        style_hash=_hash(style),
        run=Markup(_json({"about": about, "items": items})),
        views=[(view["id"], Markup(_json(view))) for view in views],
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
