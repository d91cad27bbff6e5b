"""Laying stamps on an image, so that each can later be taken away, moved or changed."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .draw import Draw
from .fields import mix, shade
from .surface import Field, Item, Stamp


def lay(
    image: Field,
    stamp: Stamp,
    center: tuple[float, float],
    kind: str,
    group: int = 0,
    feature: bool = False,
) -> Item | None:
    """Draw a stamp into an image (H, W, 3), around a (row, column); None if it lies outside."""
    height, width = image.shape[:2]
    h, w = stamp.alpha.shape
    top, left = round(center[0] - h / 2), round(center[1] - w / 2)
    inside = np.s_[
        max(0, -top) : max(0, min(h, height - top)), max(0, -left) : max(0, min(w, width - left))
    ]
    alpha = stamp.alpha[inside]
    if not alpha.size or float(alpha.max()) < 0.5:
        return None
    shadow = None if stamp.shadow is None else stamp.shadow[inside]
    clipped = Stamp(alpha, np.clip(stamp.paint[inside], 0, 1), shadow)
    top, left = max(0, top), max(0, left)
    box = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
    under = image[box].copy()
    image[box] = over(under, clipped)
    return Item(kind, group, top, left, clipped, under, feature)


def lay_all(
    image: Field, stamp: Stamp, centers: Iterable[tuple[float, float]], kind: str
) -> tuple[Item, ...]:
    """Lay a stamp around each center; centers outside the image give no item."""
    laid = (lay(image, stamp, center, kind) for center in centers)
    return tuple(item for item in laid if item is not None)


def over(under: Field, stamp: Stamp) -> Field:
    """A stamp drawn on a ground (h, w, 3) of its own size."""
    ground = under if stamp.shadow is None else shade(under, 1 - stamp.shadow)
    return mix(ground, stamp.paint, stamp.alpha)


def footprint(stamp: Stamp) -> Field:
    """(h, w) where a stamp changes its ground, in [0, 1]."""
    if stamp.shadow is None:
        return stamp.alpha
    return np.maximum(stamp.alpha, np.clip(4 * stamp.shadow, 0, 1))


def transformed(stamp: Stamp, turn: float = 0.0, shear: float = 0.0, squash: float = 1.0) -> Stamp:
    """A stamp turned by degrees, sheared and squashed about its center, on a larger sheet."""
    h, w = stamp.alpha.shape
    side = int(np.ceil(np.hypot(h, w) * (1 + abs(shear)))) + 2
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    # From the new sheet back to the old one, as PIL wants it.
    back = np.array([[1, -shear], [0, 1 / squash]]) @ np.array([[c, s], [-s, c]])
    shift = np.array([w / 2, h / 2]) - back @ np.array([side / 2, side / 2])
    data = (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])

    def moved(field: Field) -> Field:
        plane = Image.fromarray(np.ascontiguousarray(field))
        size = (side, side)
        warped = plane.transform(size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        return np.asarray(warped, np.float32)

    paint: Field = np.stack([moved(stamp.paint[..., i]) for i in range(3)], axis=2)
    # Paint fades to black outside its sheet; the alpha there is 0 as well.
    alpha = moved(stamp.alpha)
    cover = np.maximum(moved(np.ones((h, w), np.float32)), 1e-3)
    shadow = None if stamp.shadow is None else moved(stamp.shadow)
    paint /= cover[..., None]
    return Stamp(alpha, paint, shadow)


def turned(draw: Draw, stamp: Stamp) -> Stamp:
    """A stamp turned by any angle."""
    return transformed(stamp, draw.uniform(0, 360))


def covered(items: Iterable[Item], shape: tuple[int, ...]) -> Field:
    """(H, W) in [0, 1], where items are."""
    region = np.zeros(shape, np.float32)
    for item in items:
        np.maximum(region[item.box], item.stamp.alpha, out=region[item.box])
    return region


def labels(items: Iterable[Item], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) number of the item seen at each pixel, counted from 1; 0 none, at most 254 items."""
    result = np.zeros(shape, np.uint8)
    for number, item in zip(range(1, 255), items, strict=False):
        result[item.box][item.stamp.alpha > 0.5] = number
    return result
