"""Machine elements, one or several in an image."""

import math

import numpy as np

from ..drawing import shapes
from ..drawing.draw import Draw
from ..drawing.fields import bulge, mix, near, shade, smoothstep
from ..drawing.hardware import disc_shadow, screw
from ..drawing.stamps import arranged, covered, dome, gather, lay_all, ring, transformed, turned
from ..drawing.surface import Stamp, Surface
from .backdrop import backdrop


def washers(draw: Draw) -> Surface:
    """Flat rings of metal, rubber or plastic."""
    centers, pitch = arranged(draw, (0.2, 0.6))
    size = pitch * draw.uniform(0.65, 0.9)
    y, x, r = shapes.round_sheet(size)
    bore = draw.uniform(0.35, 0.7)
    light, _ = dome(draw, y, x, size)
    light += 0.06 * np.sin(r * draw.uniform(20, 60))
    light += 0.25 * near(r - bore, 0.06) - 0.2 * smoothstep(0.1, 0, 1 - r)
    paint = draw.gray(0.3, 0.85) if draw.chance(0.7) else draw.color(value=(0.1, 0.9))
    ring = np.maximum(r - 1, bore - r) * (size / 2)
    stamp = Stamp(shapes.solid(ring), shade(paint, light), 0.35 * shapes.solid(ring - 1, 0.35))
    return gather(backdrop(draw), centers, lambda: stamp, "washer")


def gears(draw: Draw) -> Surface:
    """One or several toothed wheels with a bore and lightening holes."""
    if draw.chance(0.6):
        row, column = draw.center
        centers, pitch = [(row + draw.normal(0, 3), column + draw.normal(0, 3))], 1.0 * draw.unit
    else:
        centers, pitch = arranged(draw, (0.35, 0.6))
    size = pitch * draw.uniform(0.65, 0.88)
    y, x = shapes.sheet(size * 1.1, size * 1.1, 4)
    teeth, radius = int(draw.integers(8, 36)), size / 2
    depth = min(0.3, 5.0 / teeth * draw.uniform(0.5, 0.9))
    distance = shapes.gear(y, x, radius * 0.92, teeth, depth, draw.uniform(0, 6))
    r = np.hypot(y, x) / radius
    bore, count = draw.uniform(0.12, 0.3), int(draw.integers(0, 7))
    distance = np.maximum(distance, (bore - r) * radius)
    light, lamp = dome(draw, y, x, size * 2)
    hub = draw.uniform(0.35, 0.6)
    light = light - 0.25 * near(r - hub, 0.04)
    light = light * np.where(r < hub, draw.uniform(0.75, 1.2), np.float32(1))
    if count > 2:
        at = (hub + 0.85) / 2 if hub < 0.5 else 0.5
        holes = shapes.holes(r, np.arctan2(y, x), at, count, 0.1)
        distance = np.maximum(distance, -holes * radius)
    paint = draw.gray(0.3, 0.85) if draw.chance(0.6) else draw.color(value=(0.3, 0.98))
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, radius * 0.95, lamp, 0.07 * radius), 0.2)
    stamp = Stamp(shapes.solid(distance), shade(paint, light), shadow)
    return gather(backdrop(draw), centers, lambda: stamp, "gear")


def bearing(draw: Draw) -> Surface:
    """Balls or rollers between two rings."""
    size = draw.unit * draw.uniform(0.68, 0.92)
    image = backdrop(draw)
    under = image.copy()
    y, x, r = shapes.round_sheet(size)
    bore = draw.uniform(0.25, 0.38)
    inner, outer = draw.uniform(0.48, 0.56), draw.uniform(0.76, 0.84)
    fan = np.cos(2 * np.arctan2(y, x) + draw.uniform(0, 6))
    light = 0.95 + draw.uniform(0.05, 0.2) * fan + 0.05 * np.sin(r * 90)
    for edge in (bore, inner, outer, 1.0):
        light = light - 0.35 * near(r - edge, 0.035)
    steel = draw.gray(0.45, 0.85)
    groove = smoothstep(inner - 0.01, inner + 0.01, r) * smoothstep(outer + 0.01, outer - 0.01, r)
    body = mix(shade(steel, light), draw.gray(0.04, 0.2), groove)
    race = np.maximum(r - 1, bore - r) * (size / 2)
    center = (draw.height / 2 + draw.normal(0, 3), draw.width / 2 + draw.normal(0, 3))
    rings = Stamp(shapes.solid(race), body, 0.35 * shapes.solid(race - 2, 0.2))
    region = covered(lay_all(image, rings, [center], ""), draw.shape)
    ball = (outer - inner) * size / 2 * 0.9
    by, bx = shapes.sheet(ball, ball)
    round_light, _ = dome(draw, by, bx, ball)
    glint = smoothstep(0.3, 0.05, np.hypot(by / ball + 0.15, bx / ball + 0.15) * 2)
    metal = steel if draw.chance(0.6) else draw.color(value=(0.4, 0.95))
    shiny = np.clip(shade(metal, round_light) + 0.5 * glint[..., None], 0, 1)
    stamp = Stamp(shapes.solid(shapes.disc(by, bx, ball / 2)), shiny)
    reach = (inner + outer) / 2 * size / 2
    count = min(14, int(2 * math.pi * reach / (ball * draw.uniform(1.15, 1.6))))
    items = lay_all(image, stamp, ring(center, reach, count, draw.uniform(0, 6.3)), "ball")
    return Surface(image, region, under, items=items, countable=True)


def screws(draw: Draw) -> Surface:
    """Screw heads standing in a tray, or bolts lying on a table."""
    centers, pitch = arranged(draw, (0.2, 0.4))
    ground = backdrop(draw)
    if draw.chance(0.5):
        stamp = screw(draw, pitch * draw.uniform(0.5, 0.8), ground.mean(axis=(0, 1)))
        return gather(ground, centers, lambda: turned(draw, stamp), "screw")
    long = pitch * draw.uniform(0.75, 0.92)
    shank, head = long * draw.uniform(0.14, 0.24), long * draw.uniform(0.3, 0.45)
    y, x = shapes.sheet(head, long, 3)
    cap = shapes.box(y, x + 0.38 * long, head, 0.24 * long, 0.03 * long)
    thread = np.sin(x * (2 * math.pi / max(3.0, long * draw.uniform(0.05, 0.1))))
    rod = np.maximum(np.abs(y) - shank / 2 - 0.03 * long * thread, np.abs(x) - long / 2)
    distance = np.minimum(cap, rod)
    light = 0.5 + 0.5 * bulge(y / (head / 2)) + 0.2 * thread * (cap > 0)
    metal = draw.gray(0.35, 0.9) if draw.chance(0.7) else draw.color((0.08, 0.14), (0.3, 0.7))
    shadow = 0.4 * shapes.solid(distance - 1, 0.35)
    bolt = Stamp(shapes.solid(distance), shade(metal, light), shadow)
    turn, spread = draw.uniform(0, 360), 180 if draw.chance(0.5) else 4

    def dropped() -> Stamp:
        return transformed(bolt, turn + draw.uniform(-spread, spread))

    return gather(ground, centers, dropped, "screw")
