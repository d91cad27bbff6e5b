"""Places of several items, and laying items there."""

import math
from collections.abc import Callable

import numpy as np

from .draw import Draw
from .fields import along, smoothstep
from .stamps import covered, lay
from .surface import Field, Stamp, Surface, Way

Centers = list[tuple[float, float]]


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
