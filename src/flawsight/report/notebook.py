"""Results of `Inspector` in a notebook: the report's page in a frame, files and figures."""

import html
import io
import json
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import FlawsightError, ImageError, MissingExtraError, SettingsError
from ..inspection import Inspection, Inspections
from ..io.files import short_names, write_atomically
from ..io.images import read_image
from ..io.overlay import MAX_SIDE, draw_overlay, encode_jpeg
from .view import View, summary_of, view_of
from .write_report import THUMB_SIDE, data_url, report_page

_Shown = Inspection | Inspections
# Pixels of a notebook's frame.
_HEIGHT = 720
# Photos per row of a figure, and inches of each.
_COLUMNS, _INCHES = 4, 3.2


def page_of(shown: _Shown, in_frame: bool = False) -> str:
    """Return the report of results as one page; a single one is open.

    Args:
        shown: results; one that is an error has no photo.
        in_frame: whether the page is the text of a frame.
    """
    items: list[View] = []
    views: list[View] = []
    for number, one in enumerate(_list_of(shown), start=1):
        name = f"photo {number}"
        if isinstance(one, FlawsightError):
            row: View = {"image": name, "error": str(one)}
            items.append(summary_of(row, f"photo-{number}", None, None))
            continue
        row = one.to_json() | {"image": one.image or name}
        url = thumb = None
        try:
            photo = _photo_of(one)
        except ImageError:  # moved since; the map is shown alone
            pass
        else:
            url = data_url(encode_jpeg(photo, MAX_SIDE))
            small = photo.copy()
            small.thumbnail((THUMB_SIDE, THUMB_SIDE))
            thumb = data_url(encode_jpeg(draw_overlay(small, one.anomaly_map), THUMB_SIDE))
        items.append(summary_of(row, f"photo-{number}", thumb, None))
        views.append(view_of(row, f"photo-{number}", url, one.anomaly_map, one.token_maps))
    for item, name in zip(items, short_names([item["path"] for item in items]), strict=True):
        item["name"] = name
    opened = views[0]["id"] if isinstance(shown, Inspection) else None
    return report_page({"results": True, "open": opened}, items, views, {}, in_frame)


def frame_of(shown: _Shown) -> str:
    """Return the page as a frame of a notebook, whose styles and scripts stay its own."""
    page = html.escape(page_of(shown, in_frame=True))
    return (
        f'<iframe srcdoc="{page}" title="flawsight" '
        f'style="width: 100%; height: {_HEIGHT}px; border: 0"></iframe>'
    )


def show(shown: _Shown) -> None:
    """Show results in the notebook that runs this, or else in a browser."""
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        sys.modules["IPython"].display.display(shown)
        return
    with tempfile.NamedTemporaryFile("wb", suffix=".html", delete=False) as file:
        file.write(page_of(shown).encode())
    webbrowser.open(Path(file.name).as_uri())


def save(shown: _Shown, path: Path) -> None:
    """Write results; see `Displayed.save`."""
    match (path.suffix.lower(), shown):
        case ".html", _:
            content = page_of(shown).encode()
        case ".json", Inspection():
            content = json.dumps(shown.to_json()).encode()
        case ".json", Inspections():
            rows = [
                {"error": str(one)} if isinstance(one, FlawsightError) else one.to_json()
                for one in shown
            ]
            content = json.dumps(rows).encode()
        case ".png" | ".jpg", Inspection():
            encoded = io.BytesIO()
            kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
            draw_overlay(_photo_of(shown), shown.anomaly_map).save(encoded, kind, quality=95)
            content = encoded.getvalue()
        case ".npz", Inspection():
            encoded = io.BytesIO()
            np.savez(encoded, anomaly_map=shown.anomaly_map, token_maps=shown.token_maps)
            content = encoded.getvalue()
        case _:
            one = ", .png, .jpg or .npz" if isinstance(shown, Inspection) else ""
            raise SettingsError(f"Cannot write {path}: name it .html or .json{one}.")
    try:
        write_atomically(path, content)
    except OSError as error:
        raise SettingsError(f"Cannot write {path}: {error.strerror or error}.") from error


def plot(shown: _Shown) -> Any:
    """Return a figure of results; see `Displayed.plot`. Errors are left out."""
    try:
        from matplotlib import pyplot
        from matplotlib.patches import Rectangle
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench") from error
    found = [one for one in _list_of(shown) if isinstance(one, Inspection)]
    columns = max(1, min(_COLUMNS, len(found)))
    rows = max(1, -(-len(found) // columns))
    figure, panels = pyplot.subplots(
        rows, columns, squeeze=False, layout="constrained",
        figsize=(_INCHES * columns, _INCHES * rows),
    )  # fmt: skip
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, one in zip(panels.flat, found, strict=False):
        height, width = one.image_size
        panel.imshow(draw_overlay(_photo_of(one), one.anomaly_map), extent=(0, width, height, 0))
        for left, top, wide, high in (region.box for region in one.regions):
            panel.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor="white"))
        verdict = "defective" if one.pred_label else "good"
        name = "" if one.image is None else f"{Path(one.image).name}: "
        panel.set_title(f"{name}{verdict}, {one.pred_score:.3f}", fontsize=9)
    pyplot.close(figure)  # else a notebook draws it a second time
    return figure


def _list_of(shown: _Shown) -> Sequence[Inspection | FlawsightError]:
    return [shown] if isinstance(shown, Inspection) else shown


def _photo_of(one: Inspection) -> Image.Image:
    """Return the photo of an inspection, RGB and upright.

    Raises:
        ImageError: if it came from a file that is gone.
    """
    if one.photo is not None:
        return one.photo
    if one.image is None:
        raise ImageError("The inspection has no photo.")
    return read_image(one.image)
