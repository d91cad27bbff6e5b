"""Images and arrays of a stored inspection, made on request."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import StoreError
from ..inspection import FloatArray
from ..io.images import FORMATS, open_image, prepare_image
from ..io.overlay import MAX_SIDE, draw_overlay, encode_jpeg
from ..report.view import view_of
from ..report.write_report import THUMB_SIDE
from .database import InspectionRow
from .photo_memory import PixelBudget
from .schemas import File
from .stored_files import pack_arrays
from .stored_maps import resize_map
from .stored_rows import damage_named

_LARGEST = 10**9  # pixels of a photo
MEDIA_TYPES: dict[File, str] = {
    "map.png": "image/png",
    "map.npz": "application/octet-stream",
    "overlay.png": "image/png",
    "photo.jpg": "image/jpeg",
    "thumb.jpg": "image/jpeg",
}


def render(folder: Path, row: InspectionRow, what: File, pixels: PixelBudget) -> bytes:
    """Return a file made from the photo and the arrays in a folder of `Files`.

    map.npz holds `anomaly_map` and `token_maps`. map.png is the map as 16-bit greyscale, 65535 for
    1. overlay.png is the map over the photo, thumb.jpg the same at thumbnail size. photo.jpg is the
    upright photo as a JPEG of at most 768 pixels a side.

    Raises:
        StoreError: if the row, the photo or the arrays are gone or damaged.
    """
    with damage_named(row.id):
        height, width = row.content["image_size"]
        if not 1 <= height * width <= _LARGEST:
            raise ValueError(f"image_size is {height} x {width}")
        with pixels.hold(height * width):
            return _render(folder, row, what)


def photo_type(row: InspectionRow) -> str:
    """Return the media type of a photo as it was uploaded.

    Raises:
        StoreError: if the row names no known format.
    """
    with damage_named(row.id):
        return f"image/{FORMATS[FORMATS.index(row.photo_format)].lower()}"


def _render(folder: Path, row: InspectionRow, what: File) -> bytes:
    if what == "photo.jpg":
        return encode_jpeg(_photo(folder, row, MAX_SIDE), MAX_SIDE)
    arrays = _arrays(folder)
    if what == "thumb.jpg":
        small = _photo(folder, row, THUMB_SIDE)
        small.thumbnail((THUMB_SIDE, THUMB_SIDE))
        anomaly_map = resize_map(arrays["anomaly_map"], (small.height, small.width))
        return encode_jpeg(draw_overlay(small, anomaly_map), THUMB_SIDE)
    height, width = row.content["image_size"]
    anomaly_map = resize_map(arrays["anomaly_map"], (height, width))
    if what == "map.npz":
        return pack_arrays(arrays | {"anomaly_map": anomaly_map})
    if what == "overlay.png":
        return _png(draw_overlay(_photo(folder, row), anomaly_map))
    return _png(Image.fromarray((anomaly_map * 65535).round().astype(np.uint16)))


def render_view(folder: Path, row: InspectionRow, pictures: Mapping[str, str]) -> bytes:
    """Return the view of an inspection as JSON, see report/view.py.

    Its photo is relative to the page at /, and so are the pictures of good photos by their names.

    Raises:
        StoreError: if its files are gone or damaged.
    """
    with damage_named(row.id):
        arrays = _arrays(folder)
        content = row.content | {"image": row.name}
        photo = f"v1/inspections/{row.id}/photo.jpg"
        view = view_of(
            content, row.id, photo, arrays["anomaly_map"], arrays["token_maps"],
            label=row.true_label, pictures=pictures,
        )  # fmt: skip
        return json.dumps(view, allow_nan=False).encode()


def read(path: Path) -> bytes:
    """Return a file of the store.

    Raises:
        StoreError: if it is gone.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"The files of inspection {path.parent.name} are gone from the store ({path.name})."
        ) from error


def _photo(folder: Path, row: InspectionRow, side: int | None = None) -> Image.Image:
    """Return the upright photo; a JPEG is decoded no larger than `side` pixels need."""
    photo = open_image(read(folder / "photo"))
    if side is not None:
        photo.draft("RGB", (side, side))
    return prepare_image(photo, bit_depth=row.content.get("bit_depth"))


def _arrays(folder: Path) -> dict[str, FloatArray]:
    """Return `anomaly_map` (height, width) and `token_maps` (R, grid_h, grid_w)."""
    arrays: dict[str, FloatArray] = {}
    with np.load(io.BytesIO(read(folder / "arrays.npz")), allow_pickle=False) as stored:
        for name, sides in (("anomaly_map", 2), ("token_maps", 3)):
            array = stored[name]
            if array.ndim != sides or array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, or not finite")
            arrays[name] = array.astype(np.float32)
    return arrays


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=3)
    return content.getvalue()
