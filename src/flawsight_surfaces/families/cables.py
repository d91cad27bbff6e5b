"""Cables and connectors."""

import math
from dataclasses import replace

import numpy as np

from ..drawing import components, shapes
from ..drawing.draw import Draw
from ..drawing.fields import away, bulge, mix, near, shade, smoothstep
from ..drawing.stamps import lay_all
from ..drawing.surface import Surface
from .backdrop import backdrop
from .plates import place


def pin_connector(draw: Draw) -> Surface:
    """A moulded housing with a row or two of contacts."""
    back = backdrop(draw)
    y, x = draw.axes()
    across = draw.width >= draw.height
    rows, count = int(draw.integers(1, 3)), int(draw.integers(3, 10))
    long, high = draw.uniform(0.6, 0.85), draw.uniform(0.16, 0.3) * rows
    v, u = (y, x) if across else (x, y)
    distance = shapes.box(v, u, high, long, float(draw.choice([0.0, 0.03])))
    paint = draw.gray(0.03, 0.95) if draw.chance(0.6) else draw.color(value=(0.2, 0.95))
    rim = smoothstep(0.02, 0.012, np.abs(distance + 0.03))
    light = 1 + 0.03 * draw.smooth(draw.unit * 0.2) - 0.35 * rim
    surface = place(draw, back, shade(paint, light), distance, distance - 0.03)
    pitch = long * 0.88 * draw.unit / count
    size, metal = pitch * draw.uniform(0.3, 0.55), components.solder(draw)
    pin = components.pin(size * draw.uniform(1, 1.8), size, metal)
    centers = []
    for r, i in np.ndindex(rows, count):
        off = ((r - (rows - 1) / 2) * high / rows * draw.unit, (i - (count - 1) / 2) * pitch)
        down, right = off if across else off[::-1]
        centers.append((draw.height / 2 + down, draw.width / 2 + right))
    items = lay_all(surface.image, pin, centers, "pin")
    return replace(surface, items=items, countable=True)


def cable_bundle(draw: Draw) -> Surface:
    """Insulated wires side by side, each round and of its own color."""
    back = backdrop(draw)
    v, u = draw.lying()
    v = v + draw.uniform(0, 0.06) * np.sin(u * draw.uniform(1, 4))
    count, wire = int(draw.integers(3, 10)), draw.uniform(0.05, 0.11)
    at = v / wire + (count / 2)
    number = np.clip(np.floor(at), 0, count - 1).astype(np.intp)
    alike = draw.color(saturation=(0, 0.9), value=(0.1, 0.95))
    paints = np.stack(
        [alike if draw.chance(0.4) else draw.color((0, 1), (0, 1), (0.1, 1)) for _ in range(count)]
    )
    t = (at - number - 0.5) * 2
    light = 0.4 + 0.65 * bulge(t) + 0.2 * near(t + 0.3, 0.25)
    light = light * (1 + 0.02 * draw.smooth(draw.unit * 0.1))
    body, distance = np.clip(shade(paints[number], light), 0, 1), np.abs(v) - (count * wire / 2)
    return place(draw, back, body, distance, distance - 0.02)


def cable_end(draw: Draw) -> Surface:
    """The cut through a cable: cores of copper in colored insulation in a round sheath."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, 6.3))
    size, r = draw.uniform(0.3, 0.44), np.hypot(v, u)
    sheath = draw.gray(0.1, 0.9) if draw.chance(0.6) else draw.color(value=(0.2, 0.9))
    body = shade(sheath, 1 + 0.05 * draw.smooth(draw.unit * 0.03))
    count = int(draw.integers(2, 6))
    core, ring = (0.42 * size, 0.46 * size) if count < 4 else (0.34 * size, 0.56 * size)
    copper = draw.color((0.04, 0.09), (0.4, 0.8), (0.5, 0.9))
    strands = shade(copper, np.clip(1 + 0.35 * draw.smooth(draw.unit * 0.02), 0.4, 1.5))
    alike = draw.chance(0.4)
    paint = draw.color(saturation=(0.3, 1), value=(0.3, 0.95))
    for i in range(count):
        if not alike:
            paint = draw.color(saturation=(0.0, 1), value=(0.2, 0.95))
        turn = 2 * math.pi * i / count
        d = away(v, u, (math.sin(turn), math.cos(turn)), ring)
        body = mix(body, paint, shapes.solid(d - core, draw.unit))
        body = mix(body, strands, shapes.solid(d - 0.6 * core, draw.unit))
    return place(draw, back, np.clip(body, 0, 1), r - size, r - size - 0.02)
