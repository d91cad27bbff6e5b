"""Places of several items, and laying items there."""

import math
from collections.abc import Callable

import numpy as np

from .draw import Draw
from .fields import smoothstep
from .stamps import lay
from .surface import Field, Item, Stamp, Surface

Centers = list[tuple[float, float]]


def rows(draw: Draw, pitch: float) -> Centers:
    """Rows and columns about a pitch apart, a margin around them, at times in bond."""
    rows, columns = max(1, int(draw.height / pitch)), max(1, int(draw.width / pitch))
    loose = draw.uniform(0, 0.04) * pitch
    bond = draw.chance(0.25)
    return [
        (
            (i + 0.5) * draw.height / rows + draw.normal(0, loose),
            (j + (0.75 if bond and i % 2 else 0.25 if bond else 0.5)) * draw.width / columns
            + draw.normal(0, loose),
        )
        for i in range(rows)
        for j in range(columns)
    ]


def grid(draw: Draw, down: int, across: int, pitch: float) -> Centers:
    """Rows and columns a pitch apart around the middle."""
    top, left = draw.height / 2 - (down - 1) / 2 * pitch, draw.width / 2 - (across - 1) / 2 * pitch
    return [(top + i * pitch, left + j * pitch) for i in range(down) for j in range(across)]


def spread(draw: Draw, down: int, across: int) -> Centers:
    """Rows and columns that share the image evenly."""
    return [
        ((i + 0.5) * draw.height / down, (j + 0.5) * draw.width / across)
        for i in range(down)
        for j in range(across)
    ]


def ring(center: tuple[float, float], radius: float, count: int, start: float) -> Centers:
    """Places evenly around a center, from an angle in radians on."""
    turns = np.arange(count) * (2 * math.pi / count) + start
    return [(center[0] + radius * math.sin(t), center[1] + radius * math.cos(t)) for t in turns]


def corners(draw: Draw, down: float, across: float) -> Centers:
    """The four corners so far from the middle."""
    return [
        (draw.height / 2 + i * down, draw.width / 2 + j * across) for i in (-1, 1) for j in (-1, 1)
    ]


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
    items: list[Item] = []
    region = np.zeros(image.shape[:2], np.float32)
    for center in centers[:100]:
        item = lay(image, make(), center, kind)
        if item is not None:
            items.append(item)
            np.maximum(region[item.box], item.stamp.alpha, out=region[item.box])
    return Surface(image, region, under, items=tuple(items), countable=len(items) <= 12)


def arranged(draw: Draw, reach: tuple[float, float] = (0.17, 0.5)) -> tuple[Centers, float]:
    """Places in rows or scattered, and the pitch in pixels between them."""
    pitch = draw.unit * draw.uniform(*reach)
    if draw.chance(0.55):
        return rows(draw, pitch), pitch
    return scattered(draw, pitch, int(draw.integers(3, 25))), pitch


def dome(draw: Draw, y: Field, x: Field, size: float) -> tuple[Field, tuple[float, float]]:
    """Light over a rounded thing, and the direction of the lamp."""
    angle = draw.uniform(0, 2 * math.pi)
    lamp = (math.sin(angle), math.cos(angle))
    r = np.hypot(y, x) / (size / 2)
    fan = (y * lamp[0] + x * lamp[1]) / (size / 2)
    light = 1 - 0.3 * smoothstep(0.6, 1.0, r) + np.float32(draw.uniform(0.05, 0.3)) * fan
    return light.astype(np.float32), lamp
