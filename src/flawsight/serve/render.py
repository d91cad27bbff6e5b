"""Pictures and arrays of a stored inspection, made when they are asked for."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import open_image, prepare_image
from ..errors import StoreError
from ..inspection import FloatArray
from ..report.overlay import MAX_SIDE, draw_overlay, encode_jpeg
from ..report.view import View, view_of
from .schemas import File
from .tables import InspectionRow

MEDIA_TYPES: dict[File, str] = {
    "map.png": "image/png",
    "map.npz": "application/octet-stream",
    "overlay.png": "image/png",
    "photo.jpg": "image/jpeg",
}


def render(folder: Path, what: File) -> bytes:
    """Return a file made from the photo and the arrays in a folder of `Files`.

    map.npz holds `anomaly_map` and `token_maps`; map.png is the map in 16 bits of grey, 65535
    standing for 1; overlay.png is the map over the photo; photo.jpg is the photo as any browser
    shows it, upright and small.

    Raises:
        StoreError: if they are gone.
    """
    if what == "map.npz":
        return read(folder / "arrays.npz")
    if what == "photo.jpg":
        return encode_jpeg(_photo(folder), MAX_SIDE)
    anomaly_map = _arrays(folder)["anomaly_map"]
    if what == "overlay.png":
        return _png(draw_overlay(_photo(folder), anomaly_map))
    return _png(Image.fromarray((anomaly_map * 65535).round().astype(np.uint16)))


def render_view(folder: Path, row: InspectionRow) -> View:
    """Return what the page shows of an inspection; see report/view.py.

    Raises:
        StoreError: if its files are gone.
    """
    arrays = _arrays(folder)
    content = row.content | {"image": row.name}
    photo = f"/v1/inspections/{row.id}/photo.jpg"
    return view_of(
        content, row.id, photo, arrays["anomaly_map"], arrays["token_maps"], label=row.true_label
    )


def read(path: Path) -> bytes:
    """Return a file of the store.

    Raises:
        StoreError: if it is gone.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError("The files of this inspection are gone from the store.") from error


def _photo(folder: Path) -> Image.Image:
    return prepare_image(open_image(read(folder / "photo")))


def _arrays(folder: Path) -> dict[str, FloatArray]:
    with np.load(io.BytesIO(read(folder / "arrays.npz")), allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=3)
    return content.getvalue()
