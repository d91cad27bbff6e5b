"""Stamps laid on an image, where each can later be taken away, moved or changed; their places."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .draw import Draw
from .fields import along, mix, shade, smoothstep
from .surface import Field, Item, Stamp, Surface, Way

Centers = list[tuple[float, float]]


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


def rows(draw: Draw, pitch: float) -> Centers:
    """Rows and columns about a pitch apart, a margin around them, at times in bond."""
    down, across = max(1, int(draw.height / pitch)), max(1, int(draw.width / pitch))
    loose, bond = draw.uniform(0, 0.04) * pitch, draw.chance(0.25)
    centers = []
    for i, j in np.ndindex(down, across):
        at = (0.75 if i % 2 else 0.25) if bond else 0.5
        row = (i + 0.5) * draw.height / down + draw.normal(0, loose)
        centers.append((row, (j + at) * draw.width / across + draw.normal(0, loose)))
    return centers


def grid(draw: Draw, down: int, across: int, pitch: float) -> Centers:
    """Rows and columns a pitch apart around the middle."""
    top, left = draw.height / 2 - (down - 1) / 2 * pitch, draw.width / 2 - (across - 1) / 2 * pitch
    return [(top + i * pitch, left + j * pitch) for i, j in np.ndindex(down, across)]


def spread(draw: Draw, down: int, across: int) -> Centers:
    """Rows and columns that share the image evenly."""
    tall, wide = draw.shape
    return [
        ((i + 0.5) * tall / down, (j + 0.5) * wide / across) for i, j in np.ndindex(down, across)
    ]


def ring(center: tuple[float, float], radius: float, count: int, start: float) -> Centers:
    """Places evenly around a center, from an angle in radians on."""
    turns = np.arange(count) * (2 * math.pi / count) + start
    return [(center[0] + radius * math.sin(t), center[1] + radius * math.cos(t)) for t in turns]


def corners(draw: Draw, down: float, across: float) -> Centers:
    """The four corners so far from the middle."""
    row, column = draw.center
    return [(row + i * down, column + j * across) for i in (-1, 1) for j in (-1, 1)]


def scattered(draw: Draw, pitch: float, most: int) -> Centers:
    """Random places at least a pitch apart, away from the border."""
    chosen: Centers = []
    for _ in range(most * 6):
        row = draw.uniform(0.55 * pitch, draw.height - 0.55 * pitch)
        column = draw.uniform(0.55 * pitch, draw.width - 0.55 * pitch)
        if all(math.hypot(row - r, column - c) > pitch for r, c in chosen):
            chosen.append((row, column))
        if len(chosen) == most:
            break
    return chosen


def gather(image: Field, centers: Centers, make: Callable[[], Stamp], kind: str) -> Surface:
    """Items on a background, which is changed in place."""
    under = image.copy()
    laid = (lay(image, make(), center, kind) for center in centers[:100])
    items = tuple(item for item in laid if item is not None)
    return Surface(
        image, covered(items, image.shape[:2]), under, items=items, countable=len(items) <= 12
    )


def arranged(draw: Draw, reach: tuple[float, float] = (0.17, 0.5)) -> tuple[Centers, float]:
    """Places in rows or scattered, and the pitch in pixels between them."""
    pitch = draw.unit * draw.uniform(*reach)
    if draw.chance(0.55):
        return rows(draw, pitch), pitch
    return scattered(draw, pitch, int(draw.integers(3, 25))), pitch


def dome(draw: Draw, y: Field, x: Field, size: float) -> tuple[Field, Way]:
    """Light over a rounded thing, and the direction of the lamp."""
    lamp, radius = draw.way(), size / 2
    fan = along(y, x, lamp) / radius
    rim = smoothstep(0.6, 1.0, np.hypot(y, x) / radius)
    light = 1 - 0.3 * rim + np.float32(draw.uniform(0.05, 0.3)) * fan
    return light.astype(np.float32), lamp
