"""Run folder → report.html, which opens offline.

With few images it is one file. With many, the page holds a summary of each image and loads
thumbnails and views on demand. Views are scripts, because a page opened from disk may not fetch:

    report/thumbs/*.jpg
    report/views-5/*.js     `flawsight.receive(view)`; see view.py
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from ..errors import ArrayDeletedError, FlawsightError, ImageError, RunFolderError
from ..inspection import FloatArray
from ..io.file_stamp import was_replaced
from ..io.files import short_names, slug, write_atomically, writing_to
from ..io.images import read_image
from ..io.overlay import MAX_SIDE, draw_overlay, encode_jpeg
from ..runs.good_photos import find_picture
from ..runs.read import Row, bit_depth_of, path_in, read_array, read_description, read_rows
from ..runs.relabel import rows_by_threshold
from .view import View, summary_of, view_of

ONE_FILE_UP_TO = 40
THUMB_SIDE = 256
# The name holds the version of the view format, so that old views are not reused.
VIEWS = "report/views-5"
_CALL = "flawsight.receive"
THUMBS = "report/thumbs"
# Files of the viewer in loading order; the service's page uses them too.
VIEWER = ("dom.js", "maps.js", "stage.js", "tokens.js", "evidence.js", "regions.js", "viewer.js")
_SCRIPTS = (*VIEWER, "charts.js", "gallery.js", "report.js")
_ARRAYS = ("anomaly_map", "token_maps")


def write_report(
    folder: Path,
    labels: Mapping[str, bool] | None = None,
    one_file: bool | None = None,
    threshold: float | None = None,
) -> Path:
    """Write the report of a run and return its path.

    Args:
        folder: run folder, of this version or an older one.
        labels: true labels by image path, True for defective; other images have none.
        one_file: whether to put everything into report.html; None decides by the number of images.
        threshold: of pred_score, instead of the run's own verdicts, which stay in the run.

    Raises:
        RunFolderError: if the run cannot be read or the folder not written.
    """
    about = read_description(folder)
    rows, labels = read_rows(folder), labels or {}
    depth = bit_depth_of(about)
    if threshold is not None:
        rows = rows_by_threshold(folder, rows, threshold)
        about |= {"threshold": threshold, "calibration": None}
    if one_file is None:
        one_file = len(rows) <= ONE_FILE_UP_TO
    with writing_to(folder):
        for name in ("photos", *(() if one_file else (VIEWS, THUMBS))):
            (folder / name).mkdir(parents=True, exist_ok=True)
        items: list[View] = []
        inlined: list[View] = []
        pictures: dict[str, str] = {}
        for row in rows:
            label, thumb = labels.get(row["image"]), None
            try:
                if "error" not in row and one_file:
                    thumb, view = _inline(folder, row, label, depth)
                    inlined.append(view)
                elif "error" not in row:
                    thumb = _separate(folder, row, depth)
                for photo in _good_photos(row) - pictures.keys():
                    pictures |= _picture(folder, photo, one_file)
            except RunFolderError as error:  # a file of it is damaged
                row = {"image": row["image"], "error": str(error)}
            items.append(summary_of(row, slug(row["image"]), thumb, label))
        for item, name in zip(items, short_names([item["path"] for item in items]), strict=True):
            item["name"] = name
        path = folder / "report.html"
        write_atomically(path, report_page(about, items, inlined, pictures).encode())
    return path


def _inline(
    folder: Path, row: Row, label: bool | None, bit_depth: int | None
) -> tuple[str | None, View]:
    """Return the thumbnail as a data URL, and the view with its photo as one."""
    photo, has_map = _photo(folder, row, bit_depth)
    anomaly_map, token_maps = (_array(folder, row, name) for name in _ARRAYS)
    thumb = url = None
    if photo is not None:
        thumb = data_url(_thumbnail(folder / photo, None if has_map else anomaly_map, THUMB_SIDE))
        # An overlay is a PNG, many times larger.
        whole = _thumbnail(folder / photo, None, MAX_SIDE) if has_map else None
        url = data_url(whole or (folder / photo).read_bytes())
    return thumb, view_of(
        row, slug(row["image"]), url, anomaly_map, token_maps, label=label, photo_has_map=has_map
    )


def _separate(folder: Path, row: Row, bit_depth: int | None) -> str | None:
    """Write thumbnail and view next to the page if missing; return the thumbnail's URL."""
    photo, has_map = _photo(folder, row, bit_depth)
    name = slug(row["image"])
    thumb, script = folder / THUMBS / f"{name}.jpg", folder / VIEWS / f"{name}.js"
    source = folder / row.get("anomaly_map", "")
    fresh = _shows(script, row) and (
        not source.is_file() or script.stat().st_mtime >= source.stat().st_mtime
    )
    if not fresh or (photo is not None and not thumb.exists()):
        anomaly_map, token_maps = (_array(folder, row, name) for name in _ARRAYS)
        if photo is not None:
            shown = None if has_map else anomaly_map
            write_atomically(thumb, _thumbnail(folder / photo, shown, THUMB_SIDE))
        # Without the label, which may become known later; the page has it.
        view = view_of(row, name, photo, anomaly_map, token_maps, photo_has_map=has_map)
        write_atomically(script, f"{_CALL}({_json(view)});\n".encode())
    return None if photo is None else f"{THUMBS}/{name}.jpg"


def _shows(script: Path, row: Row) -> bool:
    """Whether there is a view with the row's verdict and rule of regions."""
    try:
        view = json.loads(script.read_text()[len(_CALL) + 1 : -len(");\n")])
    except (OSError, ValueError):
        return False
    return all(view[name] == row.get(name) for name in ("pred_label", "region_rule"))


def _good_photos(row: Row) -> set[str]:
    """Return the names of the good photos that the regions of a row should look like."""
    places = [region.get("good") for region in row.get("regions") or ()]
    return {place["photo"] for place in places if place}


def _picture(folder: Path, photo: str, one_file: bool) -> dict[str, str]:
    """Return the URL of a good photo's picture by its name; nothing if there is none to show."""
    try:
        if (path := find_picture(folder, photo)) is None:
            return {}
        return {photo: data_url(_thumbnail(folder / path, None, MAX_SIDE)) if one_file else path}
    except RunFolderError:  # the result is shown all the same
        return {}


def _photo(folder: Path, row: Row, bit_depth: int | None) -> tuple[str | None, bool]:
    """Return the photo's path in the folder, and whether the map is painted into it.

    Without a photo, as in runs of older versions and other programs, it is made from the original
    image; if that is gone, the overlay is used.
    """
    own = f"photos/{slug(row['image'])}.jpg"
    for path in (row.get("photo", own), own):
        if path_in(folder, path).exists():
            return path, False
    try:
        if was_replaced(row, row["image"]):
            raise ImageError("The original has been replaced.")
        original = read_image(row["image"], bit_depth)
        write_atomically(folder / own, encode_jpeg(original, MAX_SIDE))
    except FlawsightError:
        overlay = row.get("overlay")
        found = overlay is not None and path_in(folder, overlay).exists()
        return (overlay, True) if found else (None, False)
    return own, False


def _array(folder: Path, row: Row, name: str) -> FloatArray | None:
    try:
        return read_array(folder, row, name) if name in row else None
    except ArrayDeletedError:  # deleted, for it is large
        return None


def _thumbnail(path: Path, anomaly_map: FloatArray | None, side: int) -> bytes:
    """Return an image as JPEG of at most `side` pixels, with the map over it."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (side, side))  # decodes a JPEG no larger than needed
            small = image.convert("RGB")
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise RunFolderError(
            f"Cannot read {path} ({error}); delete it, and write the report again."
        ) from error
    small.thumbnail((side, side))
    return encode_jpeg(small if anomaly_map is None else draw_overlay(small, anomaly_map), side)


def data_url(jpeg: bytes) -> str:
    """Return a JPEG as a URL that holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _json(value: Any) -> str:
    """Return ASCII JSON that is safe inside <script>: it contains no "<"."""
    return json.dumps(value).replace("<", "\\u003c")


def report_page(
    run: dict[str, Any],
    items: list[View],
    views: list[View],
    pictures: dict[str, str],
    in_frame: bool = False,
) -> str:
    """Return the page of a run.

    Args:
        run: its run.json; or {"results": True, "open": id of the view that is open, or None}.
        items: summary of each image.
        views: of the images, those that are in the page.
        pictures: URLs of good photos by their names.
        in_frame: whether the page is the srcdoc of a frame, whose links would lead to the page
            around it.
    """
    static = files("flawsight.report") / "static"
    script = "\n".join((static / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    style = (static / "viewer.css").read_text(encoding="utf-8")
    model = run.get("model") or {}
    model = model if isinstance(model, dict) else {"name": model}
    about = {
        "model": model.get("name") or run.get("detector"),
        "sha256": model.get("sha256"),
        "created": run.get("created", "date unknown"),
        "version": (run.get("versions") or {}).get("flawsight", "?"),
        "threshold": run.get("threshold"),
        "false_alarm_rate": (run.get("calibration") or {}).get("false_alarm_rate"),
        "views": VIEWS,
        "results": bool(run.get("results")),
        "open": run.get("open"),
    }
    environment = Environment(loader=PackageLoader("flawsight.report"), autoescape=True)
    return environment.get_template("report.html").render(
        script=Markup(script),
        script_hash=policy_hash(script),
        style=Markup(style),
        style_hash=policy_hash(style),
        in_frame=in_frame,
        run=Markup(_json({"about": about, "items": items, "pictures": pictures})),
        views=[(view["id"], Markup(_json(view))) for view in views],
    )


def policy_hash(text: str) -> str:
    """Return the hash by which a content security policy allows a script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
