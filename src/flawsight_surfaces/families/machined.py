"""Ground, milled, drawn and rolled metal, threads and welds; most fill the image."""

import math

import numpy as np

from ..drawing.draw import Draw
from ..drawing.fields import band, bell, bulge, lit, mix, near, shade, smoothstep
from ..drawing.hardware import hole
from ..drawing.stamps import grid, lay_all, ring
from ..drawing.surface import Field, Floats, Surface
from .backdrop import backdrop, place


def _steel(draw: Draw, low: float = 0.3, high: float = 0.8) -> Field:
    """Gray, or with the tint of brass, bronze or oil (3,)."""
    if draw.chance(0.7):
        return draw.gray(low, high)
    return draw.color((0.06, 0.16), (0.15, 0.6), (low, high))


def ground_metal(draw: Draw) -> Surface:
    """A ground or blasted face: fine speckle of light and dark, at times drawn out."""
    light = np.ones(draw.shape, np.float32)
    for _ in range(draw.integers(1, 4)):
        size = draw.uniform(0.8, 5.0) * draw.unit / 192
        long = size * (draw.uniform(1, 6) if draw.chance(0.5) else 1)
        scale = (size, long) if draw.chance(0.5) else (long, size)
        speckle = draw.smooth(scale)
        if draw.chance(0.4):  # open pores, or bright facets
            speckle = np.maximum(speckle, 0) * np.float32(draw.choice([-1.5, 1.2]))
        light += draw.uniform(0.04, 0.16) * speckle
    light += draw.uniform(0, 0.08) * draw.smooth(draw.unit * 0.4)
    return Surface(shade(_steel(draw), light))


def milled_face(draw: Draw) -> Surface:
    """Overlapping arcs of a face mill, in one or several passes."""
    v, u = draw.turned(draw.turn())
    lane = draw.uniform(0.25, 1.2)
    row, b = np.floor(v / lane + draw.random()), (v / lane + 10) % 1 - 0.5
    radius = lane * np.float32(draw.uniform(0.52, 1.5))
    arc = np.sqrt(np.maximum(radius * radius - (b * lane) ** 2, 1e-4))
    phase = (u + arc * np.where(row % 2 == 0, 1, -1)) / draw.uniform(0.01, 0.045)
    marks = np.sin(phase * 2 * math.pi) + 0.5 * np.sin(phase * 4.7 + row)
    jitter = draw.smooth(draw.unit / 90)
    light = 1 + draw.uniform(0.03, 0.12) * marks + 0.04 * jitter + 0.05 * np.sin(row * 2.3)
    return Surface(shade(_steel(draw, 0.4), light))


def streaked_block(draw: Draw) -> Surface:
    """Pressed, sintered or drawn material: soft streaks along one axis, cloudy across."""
    angle = draw.axis(0.02)
    light = np.ones(draw.shape, np.float32)
    for _ in range(3):
        thick = draw.unit * math.exp(draw.uniform(math.log(0.006), math.log(0.15)))
        lines = draw.streaks(draw.unit * draw.uniform(0.5, 3), thick, angle)
        light += draw.uniform(0.03, 0.14) * lines
    light += draw.uniform(0.02, 0.12) * draw.fractal(draw.unit * 0.5, 5, 0.7)
    light += draw.uniform(0, 0.08) * draw.smooth(draw.unit / 150)
    base = draw.gray(0.08, 0.75) if draw.chance(0.85) else draw.color(value=(0.15, 0.6))
    return Surface(shade(base, light))


def rolled_strip(draw: Draw) -> Surface:
    """Strip from a mill: bands and scale along its run."""
    angle = draw.axis()
    bands = draw.streaks(draw.unit * 6, draw.unit * draw.uniform(0.02, 0.2), angle)
    fine = draw.streaks(draw.unit * 0.6, draw.unit / 140, angle)
    scale = draw.fractal(draw.unit * 0.04, 4, 0.8)
    light = 1 + draw.uniform(0.05, 0.2) * bands + draw.uniform(0.02, 0.08) * fine
    light += draw.uniform(0, 0.07) * scale
    return Surface(shade(_steel(draw, 0.2), light))


def rail(draw: Draw) -> Surface:
    """A profile lying through the image, its faces in bands of different brightness."""
    back = backdrop(draw)
    v, u = draw.lying()
    v = v + draw.normal(0, 0.04) * u
    half = float(np.abs(v).max()) * draw.uniform(0.5, 0.9)
    edges = np.sort(draw.uniform(-half, half, draw.integers(2, 7)))
    levels = draw.uniform(0.5, 1.25, len(edges) + 1).astype(np.float32)
    light = levels[np.searchsorted(edges, v)]
    for at in edges:
        light = light + np.float32(draw.uniform(-0.3, 0.3)) * near(v - at, 0.012)
    lines = draw.streaks(draw.unit, draw.unit / 130, math.pi / 2)
    light = light + draw.uniform(0.01, 0.06) * lines
    return place(draw, back, shade(_steel(draw, 0.35), light), np.abs(v) - half, 0.03)


def _shaft(draw: Draw) -> tuple[Field, Field, Field, float]:
    """(back, v, u, half): backdrop, across and along a round bar, its half width in units."""
    back = backdrop(draw)
    v, u = draw.turned(draw.axis(0.03))
    filled = draw.chance(0.4)
    half = draw.uniform(0.5, 0.9) if filled else draw.uniform(0.15, 0.42)
    if filled and draw.height != draw.width:
        half *= max(draw.shape) / draw.unit
    return back, v, u, half


def _round(v: Field, half: float, draw: Draw) -> Floats:
    """The light over a round bar."""
    t = np.clip(v / half, -1, 1)
    glint = bell(t - draw.uniform(-0.4, 0.4), draw.uniform(0.08, 0.35))
    return 0.25 + 0.6 * bulge(t) + draw.uniform(0, 0.5) * glint


def threaded_rod(draw: Draw) -> Surface:
    """A bolt or rod with a fine sharp thread."""
    back, v, u, half = _shaft(draw)
    pitch = draw.uniform(0.03, 0.1)
    lead = pitch * np.float32(draw.uniform(0.2, 0.6)) / half
    phase = ((u + lead * v) / pitch) % 1
    flank = np.abs(phase - 0.5) * 2
    light = _round(v, half, draw) * (0.45 + 0.75 * flank + 0.3 * np.sin(phase * 2 * math.pi))
    head = draw.uniform(0.2, 0.7)
    if draw.chance(0.4):  # a plain shank or a head where the thread ends
        light = np.where(u > head, _round(v, half * 1.05, draw), light)
    distance = np.abs(v) - half + 0.25 * pitch * (1 - flank) * (u < head)
    return place(draw, back, np.clip(shade(_steel(draw, 0.4), light), 0, 1), distance, 0.03)


def screw_shaft(draw: Draw) -> Surface:
    """Wide round grooves that wind along a polished bar, lands between them."""
    back, v, u, half = _shaft(draw)
    pitch = draw.uniform(0.15, 0.5)
    lead = np.float32(draw.uniform(0.1, 0.5)) * pitch / half
    sag = np.float32(draw.uniform(-0.3, 0.3)) * pitch * (v / half) ** 2
    phase = ((u + lead * v + sag) / pitch) % 1
    share = draw.uniform(0.3, 0.75)
    across = np.clip(phase / share, 0, 1)
    hollow = 0.55 + draw.uniform(0.3, 0.7) * np.sin(across * math.pi) ** 2
    hollow += draw.uniform(-0.3, 0.3) * (across - 0.5)
    light = _round(v, half, draw) * np.where(phase < share, hollow, draw.uniform(0.8, 1.2))
    step = np.minimum(np.abs(phase - share), np.minimum(phase, 1 - phase)) * pitch
    rim = smoothstep(2.5 / draw.unit, 0.5 / draw.unit, step)
    light = light * (1 - draw.uniform(0.2, 0.6) * rim)
    lines = np.sin((u + lead * v) * draw.uniform(150, 400))
    light = light * (1 + 0.04 * lines + 0.04 * draw.smooth(draw.unit * 0.05))
    body = np.clip(shade(_steel(draw, 0.45, 0.85), light), 0, 1)
    return place(draw, back, body, np.abs(v) - half, 0.03)


def coil_spring(draw: Draw) -> Surface:
    """A helical spring from the side."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, math.pi))
    half, reach = draw.uniform(0.12, 0.28), draw.uniform(0.3, 0.48)
    pitch, wire = draw.uniform(0.06, 0.16), draw.uniform(0.014, 0.028)
    slant = np.float32(0.25) * pitch / half
    front = np.abs(((u + slant * v) / pitch) % 1 - 0.5) * pitch - wire
    behind = np.abs(((u - slant * v) / pitch + 0.5) % 1 - 0.5) * pitch - 0.9 * wire
    ends = np.maximum(np.abs(v) - half, np.abs(u) - reach)
    first = np.maximum(front, ends)
    distance = np.minimum(first, np.maximum(behind, ends))
    light = np.where(first < 0, 0.35 + 0.7 * bulge((front + wire) / wire), 0.3)
    body = shade(_steel(draw, 0.5, 0.95), light * (1 - 0.4 * (v / half) ** 2))
    return place(draw, back, body, distance, 0.01)


def welded_plate(draw: Draw) -> Surface:
    """Two plates joined by an even bead with heat tints."""
    v, u = draw.turned(draw.axis(0.05))
    v, half = v + draw.uniform(-0.2, 0.2), np.float32(draw.uniform(0.05, 0.14))
    base = draw.streaks(draw.unit, draw.unit / 120, draw.turn()) * draw.uniform(0.02, 0.08)
    image = shade(_steel(draw, 0.3, 0.7), 1 + base + 0.06 * np.sign(v))
    for tint, reach in (((0.35, 0.3, 0.45), 3.2), ((0.5, 0.38, 0.22), 2.2)):
        heat = smoothstep(reach * half, 1.1 * half, np.abs(v)) * draw.uniform(0, 0.5)
        image = mix(image, np.array(tint, np.float32), heat)
    bend = bulge(v / half)
    ripple = np.sin((u + half * bend) * (2 * math.pi / draw.uniform(0.02, 0.06)))
    light = 0.55 + 0.5 * bend + 0.13 * ripple - 0.2 * v / half
    return Surface(mix(image, shade(draw.gray(0.35, 0.7), light), band(v, half, draw.pixel)))


def bracket(draw: Draw) -> Surface:
    """A stamped flat part with bores, slots and a bend line."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, 2 * math.pi))
    long, high = draw.uniform(0.6, 0.8), draw.uniform(0.25, 0.5)
    corner = draw.uniform(0.02, 0.1)
    dv, du = np.abs(v) - high / 2 + corner, np.abs(u) - long / 2 + corner
    distance = np.hypot(np.maximum(dv, 0), np.maximum(du, 0)) - corner
    if draw.chance(0.5):  # an L or a T
        arm = np.maximum(np.abs(u - draw.uniform(-0.2, 0.2)) - 0.1, np.abs(v) - 0.42)
        distance = np.minimum(distance, arm)
    number = int(draw.integers(1, 5))
    for i in range(number):
        at = ((i + 0.5) / number - 0.5) * np.float32(long * 0.85)
        bore = draw.uniform(0.1, 0.22) * high
        longer = draw.uniform(0, 0.08) if draw.chance(0.4) else 0.0
        cut = np.hypot(v, np.maximum(np.abs(u - at) - longer, 0)) - bore
        distance = np.maximum(distance, -cut)
    light = 1 + draw.uniform(0.02, 0.08) * draw.streaks(draw.unit, draw.unit / 130, draw.turn())
    fold = draw.uniform(-0.3, 0.3)
    light = light * np.where(u > fold, draw.uniform(0.65, 1.15), np.float32(1))
    light = light + 0.35 * near(distance, 0.012)
    paint = _steel(draw) if draw.chance(0.7) else draw.color(value=(0.2, 0.9))
    return place(draw, back, np.clip(shade(paint, light), 0, 1), distance)


def drilled_plate(draw: Draw) -> Surface:
    """A machined face with a row, a circle or a grid of like bores."""
    image = (milled_face if draw.chance(0.4) else ground_metal)(draw).image
    image = mix(image, image.mean(axis=(0, 1)), draw.uniform(0.2, 0.8))
    size = draw.unit * draw.uniform(0.07, 0.14)
    stamp = hole(draw, size, image.mean(axis=(0, 1)))
    if draw.chance(0.4):
        count, radius = int(draw.integers(4, 10)), draw.unit * draw.uniform(0.25, 0.4)
        centers = ring(draw.center, radius, count, draw.uniform(0, 6.3))
    else:
        pitch = size * draw.uniform(1.6, 3.0)
        down = max(1, min(5, int(draw.height / pitch - 0.6)))
        across = max(2, int(draw.width / pitch - 0.6))
        centers = grid(draw, 1 if draw.chance(0.3) else down, across, pitch)
    items = lay_all(image, stamp, centers[:60], "bore")
    return Surface(image, items=items, countable=len(items) <= 12)


def rough_casting(draw: Draw) -> Surface:
    """Cast ribs and pockets with round corners and a rough skin."""
    v, u = draw.turned(draw.turn())
    period, aspect = draw.uniform(0.3, 0.9), np.float32(draw.uniform(0.6, 1.6))
    b = np.abs((v / period + draw.random()) % 1 - 0.5)
    a = np.abs((u / (period * aspect) + draw.random()) % 1 - 0.5)
    wall = draw.uniform(0.06, 0.14)
    inset = np.hypot(np.maximum(b - 0.4 + wall, 0), np.maximum(a - 0.4 + wall, 0))
    relief = smoothstep(wall * 0.6, wall * 1.4, inset) * (draw.unit * 0.04)
    relief += 0.6 * draw.fractal(draw.unit * draw.uniform(0.02, 0.05), 3, 0.7)
    light = 0.85 + lit(relief, draw.uniform(0, 6.3), draw.uniform(0.08, 0.2))
    light += np.float32(draw.uniform(0.1, 0.3)) * (inset > wall)
    return Surface(shade(draw.gray(0.25, 0.7), light))


def sintered_face(draw: Draw) -> Surface:
    """A pressed powder face: light and dark grains of strong contrast, without a direction."""
    light = np.full(draw.shape, 1.0, np.float32)
    for _ in range(draw.integers(1, 3)):
        size = draw.uniform(1.2, 4.0) * draw.unit / 192
        light += draw.uniform(0.08, 0.28) * np.tanh(1.5 * draw.smooth(size))
    pores = smoothstep(1.2, 2.2, draw.smooth(draw.uniform(1.5, 4) * draw.unit / 192))
    light -= draw.uniform(0, 0.5) * pores
    light += draw.uniform(0, 0.08) * draw.smooth(draw.unit * 0.4)
    return Surface(shade(_steel(draw, 0.3, 0.75), light))


def ferrite_tile(draw: Draw) -> Surface:
    """A dull tile between dark rims: fine lines along it, clouds, one part brighter."""
    upright = draw.chance(0.5)
    y, x = draw.axes()
    v = x if upright else y
    angle = math.pi / 2 if upright else 0.0
    light = 1 + draw.uniform(0.05, 0.2) * draw.streaks(draw.unit * 2, draw.unit / 110, angle)
    light += draw.uniform(0, 0.2) * draw.streaks(draw.unit * 3, draw.unit / 12, angle)
    light += draw.uniform(0.03, 0.15) * draw.smooth(draw.unit * 0.5)
    light += draw.uniform(0, 0.06) * draw.smooth(1.0)
    half = float(np.abs(v).max()) * draw.uniform(0.75, 1.1)
    light -= draw.uniform(0, 0.5) * (v / half) ** 2
    rim = np.abs(np.abs(v) - half * draw.uniform(0.88, 0.97))
    light -= draw.uniform(-0.4, 0.4) * smoothstep(0.012, 0.004, rim)
    back = np.broadcast_to(draw.gray(0.0, 0.08, 0.01), (*draw.shape, 3))
    uneven = 0.006 * draw.fractal(draw.unit * 0.05, 3, 0.8)
    base = draw.gray(0.1, 0.5, 0.02)
    return place(draw, back, np.clip(shade(base, light), 0, 1), np.abs(v) - half + uneven)


def tube(draw: Draw) -> Surface:
    """A plain round bar or tube, drawn or polished, with brown oil on it as it comes."""
    back, v, u, half = _shaft(draw)
    t = np.clip(v / half, -1, 1)
    light = _round(v, half, draw)
    for _ in range(draw.integers(0, 3)):  # mirrored bands along it
        light = light + draw.uniform(-0.35, 0.35) * bell(t - draw.uniform(-0.8, 0.8), 0.1)
    light = light * (1 + draw.uniform(0.01, 0.06) * np.sin(u * draw.uniform(60, 400)))
    light = light + draw.uniform(0, 0.05) * draw.smooth(draw.unit * 0.04)
    body = shade(_steel(draw, 0.4, 0.9), light)
    oil = smoothstep(-0.2, 1.8, draw.fractal(draw.unit * 0.25, 3)) * draw.uniform(0, 0.5)
    body = mix(body, draw.color((0.05, 0.12), (0.3, 0.7), (0.2, 0.6)), oil)
    return place(draw, back, np.clip(body, 0, 1), np.abs(v) - half, 0.03)
