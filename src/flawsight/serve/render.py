"""Pictures and arrays of a stored inspection, made when they are asked for."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import open_image, prepare_image
from ..errors import StoreError
from ..report.overlay import draw_overlay
from .schemas import File

MEDIA_TYPES: dict[File, str] = {
    "map.png": "image/png",
    "map.npz": "application/octet-stream",
    "overlay.png": "image/png",
}


def render(folder: Path, what: File) -> bytes:
    """Return a file made from the photo and the arrays in a folder of `Files`.

    map.npz holds `anomaly_map` and `token_maps`; map.png is the map in 16 bits of grey, 65535
    standing for 1; overlay.png is the map over the photo.

    Raises:
        StoreError: if they are gone.
    """
    try:
        if what == "map.npz":
            return (folder / "arrays.npz").read_bytes()
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            anomaly_map = arrays["anomaly_map"].astype(np.float32)
        if what == "overlay.png":
            photo = prepare_image(open_image((folder / "photo").read_bytes()))
            return _png(draw_overlay(photo, anomaly_map))
    except OSError as error:
        raise StoreError("The files of this inspection are gone from the store.") from error
    return _png(Image.fromarray((anomaly_map * 65535).round().astype(np.uint16)))


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=3)
    return content.getvalue()
