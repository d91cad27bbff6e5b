"""Adds benign features to a surface that has room for them."""

import math
from dataclasses import replace

import numpy as np

from ..drawing.draw import Draw
from ..drawing.stamps import Centers, corners, grid, labels, lay, ring
from ..drawing.surface import Field, Item, Mark, Mask, Surface
from .feature_table import FEATURES, Benign


def add_features(draw: Draw, surface: Surface, material: str, number: int) -> Surface:
    """The surface with up to `number` features of different kinds, fewer if there is no room."""
    fitting = [kind for kind, benign in FEATURES.items() if material in benign.materials]
    # What runs over the surface comes first, so that it crosses nothing.
    weights = np.array([1.0 if FEATURES[kind].stamp else 1.7 for kind in fitting])
    chosen = draw.choice(
        fitting, min(number, len(fitting)), replace=False, p=weights / weights.sum()
    )
    for kind in sorted(chosen, key=lambda kind: FEATURES[kind].stamp is not None):
        surface = add_feature(draw, surface, str(kind))
    return surface


def add_feature(draw: Draw, surface: Surface, kind: str, least: int = 1) -> Surface:
    """The surface with one feature; a small thing at least so many times if there is room."""
    benign = FEATURES[kind]
    if benign.mark is not None:
        image, where = benign.mark(draw, surface)
        if benign.outside and surface.region is not None:
            rest, under = surface.region * (1 - where), surface.under
            if under is not None:  # a part that breaks away does not take it along
                under = under + (image - surface.image) * where[..., None]
            surface = replace(surface, region=rest, under=under)
        elif surface.region is not None:
            where = where * surface.region
            image = surface.image + (image - surface.image) * surface.region[..., None]
        clipped: Field = np.clip(image, 0, 1)
        there = where[..., None] > 0.5
        change = float(np.abs(clipped - surface.image).mean(where=there)) if there.any() else 0.0
        # What is too faint to be seen is drawn, but not reported.
        known = (Mark(kind, where),) if change > 0.035 else ()
        return replace(surface, image=clipped, marks=surface.marks + known)
    return _add_items(draw, surface, kind, benign, max(least, benign.least))


def _free(surface: Surface) -> Mask:
    """(H, W) where something may be laid."""
    free: Mask = labels(surface.items, surface.image.shape[:2]) == 0
    if surface.region is not None:
        free &= surface.region > 0.98
    for mark in surface.marks:
        if mark.kind in ("seam", "weld bead", "ridge", "scale", "stripe", "knot", "thread run"):
            free &= mark.alpha < 0.3
    return free


def _add_items(draw: Draw, surface: Surface, kind: str, benign: Benign, least: int) -> Surface:
    height, width = surface.image.shape[:2]
    unit = min(height, width)
    if surface.region is not None:  # small parts carry small things
        unit = int(unit * min(1.0, 1.2 * math.sqrt(float(surface.region.mean()))))
    free = _free(surface)
    image = surface.image.copy()
    assert benign.stamp is not None
    for attempt in range(6):
        size = max(7.0, unit * draw.uniform(*benign.size) * 0.85**attempt)
        anchor = np.argwhere(free[:: 1 + unit // 24, :: 1 + unit // 24]) * (1 + unit // 24)
        if not len(anchor):
            return surface
        row, column = anchor[draw.integers(len(anchor))]
        near = surface.image[row : row + 3, column : column + 3].mean(axis=(0, 1))
        stamp = benign.stamp(draw, size, near)
        places = [(float(row), float(column))]
        if least > 1 or (not benign.single and draw.chance(0.55)):
            places = _layout(draw, max(stamp.alpha.shape), least)
        fits = [place for place in places if _fits(free, stamp.alpha.shape, place)]
        if len(fits) < max(least, (len(places) + 1) // 2):
            continue
        laid = [lay(image, stamp, place, kind, len(surface.items) + 1, True) for place in fits]
        items: tuple[Item, ...] = tuple(item for item in laid if item is not None)
        return replace(surface, image=image, items=(*surface.items, *items))
    return surface


def _fits(free: Mask, shape: tuple[int, ...], center: tuple[float, float]) -> bool:
    top, left = round(center[0] - shape[0] / 2), round(center[1] - shape[1] / 2)
    bottom, right = top + shape[0], left + shape[1]
    if top < 1 or left < 1 or bottom >= free.shape[0] or right >= free.shape[1]:
        return False
    return bool(free[top:bottom, left:right].all())


def _layout(draw: Draw, side: int, least: int) -> Centers:
    """Centers in a row, the corners, a grid or a circle."""
    inset = side * draw.uniform(0.8, 1.6)
    kind = draw.integers(4)
    if kind == 0:
        return corners(draw, draw.height / 2 - inset, draw.width / 2 - inset)
    if kind == 1:
        count = max(int(draw.integers(3, 9)), least)
        return ring(draw.center, draw.uniform(0.18, 0.42) * draw.unit, count, draw.uniform(0, 6.3))
    pitch = side * draw.uniform(1.15, 2.8)
    across = max(1, int((draw.width - 2 * inset) / pitch))
    down = max(1, int((draw.height - 2 * inset) / pitch))
    if kind == 3:
        return grid(draw, min(down, 5), min(across, 5), pitch)
    if draw.chance(0.5):  # one row or one column
        row = draw.uniform(inset, max(inset + 1, draw.height - inset))
        return [(row, inset + (i + 0.5) * pitch) for i in range(min(across, 8))]
    column = draw.uniform(inset, max(inset + 1, draw.width - inset))
    return [(inset + (i + 0.5) * pitch, column) for i in range(min(down, 8))]
