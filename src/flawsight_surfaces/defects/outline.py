"""Defects of an outline or a pattern: each takes a canvas."""

import math

import numpy as np
from scipy.ndimage import map_coordinates

from ..drawing.canvas import Canvas, Layer
from ..drawing.fields import mix, smoothstep
from ..drawing.surface import Field


def _cover(canvas: Canvas) -> Field:
    """(H, W) where the material of the part or the pattern is."""
    surface = canvas.surface
    if surface.pattern is not None:
        return surface.pattern.cover
    if surface.region is not None:
        return surface.region
    return np.ones(canvas.shape, np.float32)


def burr(canvas: Canvas) -> Layer:
    """Material that stands out over the outline: flash, a spur, a drop of solder."""
    radius, distance = canvas.spot(0.02, 0.3, 2.5)
    cover = _cover(canvas)
    box = canvas.window(max(2, canvas.unit // 20))
    inside = cover[box] > 0.8
    paint = canvas.image[box][inside].mean(axis=0) if inside.any() else canvas.local_color()
    return Layer(canvas.disc(distance, radius) * (1 - cover), paint)


def deformation(canvas: Canvas) -> Layer:
    """An outline, a pattern or a weave pushed or pulled out of its place."""
    radius = max(6.0, canvas.radius(0.06) * 1.6)
    row, column = canvas.center
    box = np.s_[
        max(0, int(row - radius)) : int(row + radius) + 2,
        max(0, int(column - radius)) : int(column + radius) + 2,
    ]
    y, x = (plane[box].astype(np.float32) for plane in np.indices(canvas.shape))
    push = smoothstep(1.0, 0.1, np.hypot(y - row, x - column) / radius)
    (down, right), reach = canvas.way(), radius * canvas.uniform(0.35, 0.6)
    places = [y - reach * down * push, x - reach * right * push]
    image = canvas.image.copy()
    for c in range(3):
        image[box][..., c] = map_coordinates(canvas.image[..., c], places, order=1, mode="nearest")
    return Layer(smoothstep(0.02, 0.06, np.abs(image - canvas.image).max(axis=2)), image)


def break_(canvas: Canvas) -> Layer:
    """The part is broken across: a rough gap, at times a wedge, in which the background shows."""
    v, u = canvas.turned(canvas.uniform(0, math.pi))
    row, column = canvas.center
    at = float(v[int(row), int(column)])
    rough = canvas.fractal(canvas.unit * 0.2, 5, 0.65) * 0.03
    half = canvas.uniform(0.008, 0.03 + 0.02 * (1 - canvas.difficulty))
    spread = 1 + 0.4 * canvas.fractal(canvas.unit * 0.25, 2)
    if canvas.chance(0.4):  # two pieces turned apart
        half *= canvas.uniform(1, 2)
        spread = spread + canvas.sign() * canvas.uniform(0.5, 3) * u
    gap = np.abs(v - at + rough) - half * np.clip(spread, 0.3, 2.5)
    under, dark = canvas.surface.under, canvas.image * 0.2
    alpha = smoothstep(0.8 / canvas.unit, -0.8 / canvas.unit, gap)
    return Layer(alpha, dark if under is None else mix(under, dark, 0.3))


def _bridge(canvas: Canvas, cover: Field) -> tuple[Field, Field, float] | None:
    """(start, end, width) in pixels (y, x) across the narrow place of 0 between two of 1."""
    height, width = canvas.shape
    zone = cover < 0.5
    rim = zone.copy()
    rim[1:-1, 1:-1] &= ~(zone[2:, 1:-1] & zone[:-2, 1:-1] & zone[1:-1, 2:] & zone[1:-1, :-2])
    rim[[0, -1]] = rim[:, [0, -1]] = False
    if canvas.shown is not None:
        rim &= canvas.shown
    places = np.argwhere(rim)
    if not len(places):
        return None
    most = max(6, int(0.16 * canvas.unit))
    for row, column in places[canvas.integers(len(places), size=40)]:
        for dy, dx in canvas.rng.permutation([(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, 1)]):
            if cover[row - dy, column - dx] < 0.5:  # not away from the rim
                continue
            steps = np.arange(most + 1)
            rows, columns = row + steps * dy, column + steps * dx
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            line = cover[rows[inside], columns[inside]] > 0.5
            if line.any() and (end := int(line.argmax())) >= 2:
                start = np.array([row - dy, column - dx], np.float32)
                stop = np.array([row + end * dy, column + end * dx], np.float32)
                return start, stop, float(end)
    return None


def short_circuit(canvas: Canvas) -> Layer:
    """A bridge of conductor between two tracks."""
    pattern = canvas.surface.pattern
    found = _bridge(canvas, pattern.cover) if pattern else None
    if pattern is None or found is None:
        return canvas.nothing()
    start, end, gap = found
    points = np.linspace(start, end, 8) + canvas.normal(0, 0.06 * gap, (8, 2))
    points[0], points[-1] = start, end
    wide = np.maximum(1.5, gap * canvas.uniform(0.25, 0.7) * canvas.uniform(0.8, 1.2, 8))
    return Layer(canvas.stroke(points, wide) * (1 - pattern.cover), pattern.ink)


def open_circuit(canvas: Canvas) -> Layer:
    """A gap across a track."""
    pattern = canvas.surface.pattern
    found = _bridge(canvas, 1 - pattern.cover) if pattern else None
    if pattern is None or found is None:
        return canvas.nothing()
    start, end, wide = found
    off = (end - start) / max(1.0, wide) * 1.5
    points = np.linspace(start - off, end + off, 8) + canvas.normal(0, 0.05 * wide, (8, 2))
    gap = np.maximum(2.5, wide * canvas.uniform(0.3, 0.9) * canvas.uniform(0.8, 1.2, 8))
    return Layer(canvas.stroke(points, gap) * pattern.cover, pattern.ground)
