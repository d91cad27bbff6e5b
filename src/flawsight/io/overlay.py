"""The anomaly map blended into the photo, with one fixed colour scale for all images."""

import io

import numpy as np
from PIL import Image

from ..inspection import FloatArray
from ..settings import Settings

MAX_SIDE = 768
# The photo is coloured above this value of the map. A flat map, 0.2 everywhere, stays uncoloured.
VISIBLE = Settings.region_threshold
# Value of the map → colour and opacity.
SCALE = [
    (0.00, (30, 60, 200), 0.00),
    (VISIBLE, (30, 60, 200), 0.00),
    (0.40, (60, 160, 230), 0.35),
    (0.55, (250, 220, 60), 0.55),
    (0.75, (250, 110, 30), 0.70),
    (1.00, (210, 0, 30), 0.80),
]


def draw_overlay(image: Image.Image, anomaly_map: FloatArray) -> Image.Image:
    """Blend the map into the photo.

    Args:
        image: RGB.
        anomaly_map: (height, width) of the image, in [0, 1].

    Returns:
        RGB, its longer side at most `MAX_SIDE` pixels, with the aspect of the image.
    """
    photo = image.copy()
    photo.thumbnail((MAX_SIDE, MAX_SIDE))
    heat = Image.fromarray(np.asarray(anomaly_map, dtype=np.float32)).resize(photo.size)
    values = np.asarray(heat)
    stops = [stop for stop, _, _ in SCALE]
    opacity = np.interp(values, stops, [alpha for _, _, alpha in SCALE])[..., None]
    colour = np.stack(
        [np.interp(values, stops, [rgb[c] for _, rgb, _ in SCALE]) for c in range(3)], axis=-1
    )
    blended = np.asarray(photo) * (1 - opacity) + colour * opacity
    return Image.fromarray(blended.round().astype(np.uint8))


def encode_jpeg(image: Image.Image, side: int) -> bytes:
    """Return an RGB image as JPEG, its longer side at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=85)
    return content.getvalue()
