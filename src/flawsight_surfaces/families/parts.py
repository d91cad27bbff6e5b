"""Simple objects on a background; shapes are signed distances in units, negative inside."""

import math

import numpy as np

from ..drawing.draw import Draw
from ..drawing.fields import mix, shade, smoothstep
from ..drawing.surface import Field, Surface
from .backdrop import backdrop
from .plates import place


def _pose(draw: Draw) -> tuple[Field, Field, Field, Field]:
    """(back, v, u, lamp): backdrop, axes of an object near the center, lamp direction (2,)."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, 2 * math.pi))
    dv, du = draw.uniform(-0.06, 0.06, 2).astype(np.float32)
    angle = draw.uniform(0, 2 * math.pi)
    lamp = np.array([math.sin(angle), math.cos(angle)], np.float32)
    return back, v - dv, u - du, lamp


def _different(draw: Draw, back: Field, low: float, high: float) -> Field:
    """A gray (3,) that stands out from the background."""
    level = float(back.mean())
    for _ in range(8):
        tone = draw.gray(low, high)
        if abs(float(tone.mean()) - level) > 0.2:
            break
    return tone


def machined_disc(draw: Draw) -> Surface:
    """A turned disc, often with a bore and screw holes."""
    back, v, u, lamp = _pose(draw)
    size = draw.uniform(0.3, 0.44)
    r = np.hypot(v, u)
    rings = np.sin(r * draw.uniform(150, 400))
    fan = np.cos(2 * np.arctan2(v, u))
    light = 1 + 0.04 * rings + draw.uniform(0.05, 0.2) * fan
    step = draw.uniform(0.4, 0.75) * size
    light *= np.where(r < step, draw.uniform(0.75, 1.2), 1.0)
    light -= 0.35 * smoothstep(0.012, 0.0, np.abs(r - step))
    light -= 0.3 * smoothstep(size - 0.03, size, r)
    body = shade(_different(draw, back, 0.4, 0.85), light)
    distance = r - size
    bore = draw.uniform(0.15, 0.3) * size
    count = int(draw.integers(0, 7))
    if draw.chance(0.7):
        distance = np.maximum(distance, bore - r)
    sector = 2 * math.pi / max(count, 1)
    if count > 1:  # screw holes
        phi = (np.arctan2(v, u) % sector) - sector / 2
        hole = np.hypot(r * np.sin(phi), r * np.cos(phi) - 0.75 * size) - 0.08 * size
        distance = np.maximum(distance, -hole)
    shadow = np.hypot(v - 0.03 * lamp[0], u - 0.03 * lamp[1]) - size
    return place(draw, back, body, distance, shadow)


def moulded_cap(draw: Draw) -> Surface:
    """A domed screw cap with a toothed rim."""
    back, v, u, lamp = _pose(draw)
    size, teeth = draw.uniform(0.28, 0.43), int(draw.integers(16, 48))
    r, phi = np.hypot(v, u), np.arctan2(v, u)
    distance = r - size * (1 + 0.025 * np.sin(phi * teeth))
    light = 0.95 + 0.25 * (v * lamp[0] + u * lamp[1]) / size
    light -= 0.25 * smoothstep(0.82 * size, 0.86 * size, r)
    light += 0.15 * np.sin(phi * teeth) * (r > 0.86 * size)
    shine = np.hypot(v / size - 0.4 * lamp[0], u / size - 0.4 * lamp[1])
    body = shade(draw.color(saturation=(0.0, 0.95), value=(0.3, 0.98)), light)
    body = body + (smoothstep(0.35, 0.0, shine) * draw.uniform(0, 0.5))[..., None]
    shadow = np.hypot(v + 0.04 * lamp[0], u + 0.04 * lamp[1]) - size
    return place(draw, back, body, distance, shadow)


def pill(draw: Draw) -> Surface:
    """A round or oblong tablet, at times scored or freckled."""
    back, v, u, lamp = _pose(draw)
    size, long = draw.uniform(0.16, 0.26), draw.uniform(0.0, 0.2)
    along = np.maximum(np.abs(u) - long, 0)
    distance = np.hypot(v, along) - size
    rim = smoothstep(-0.12, 0.0, distance)
    light = 1 - 0.3 * rim + draw.uniform(0.1, 0.35) * (v * lamp[0] + u * lamp[1])
    coat = draw.color(saturation=(0.0, 0.8), value=(0.6, 0.98))
    if draw.chance(0.5):
        light -= 0.3 * smoothstep(0.014, 0.004, np.abs(u)) * (distance < -0.03)
    body = shade(coat, light)
    if draw.chance(0.3):
        freckles = smoothstep(1.3, 1.9, draw.smooth(draw.unit * 0.015))
        body = mix(body, draw.color(value=(0.2, 0.6)), freckles * 0.5)
    shadow = np.hypot(v + 0.03 * lamp[0], np.maximum(np.abs(u + 0.03 * lamp[1]) - long, 0)) - size
    return place(draw, back, body, distance, shadow)


def capsule(draw: Draw) -> Surface:
    """A two-colored capsule with a highlight."""
    back, v, u, _ = _pose(draw)
    size, long = draw.uniform(0.11, 0.17), draw.uniform(0.2, 0.28)
    distance = np.hypot(v, np.maximum(np.abs(u) - long, 0)) - size
    light = 0.6 + 0.45 * np.sqrt(np.clip(1 - (v / size) ** 2, 0, 1))
    halves = [draw.color(saturation=(0.0, 0.9), value=(0.3, 0.98)) for _ in range(2)]
    joint = smoothstep(-0.006, 0.006, u - draw.uniform(-0.08, 0.08))
    body = shade(mix(halves[0], halves[1], joint), light)
    offset = draw.uniform(0.2, 0.5) * size
    shine = smoothstep(0.03, 0.0, np.abs(v - offset)) * (np.abs(u) < long)
    body = body + (shine * draw.uniform(0.1, 0.5))[..., None]
    return place(draw, back, body, distance, distance - 0.01)


def shelled_nut(draw: Draw) -> Surface:
    """A brown nut with ribs and a pale base."""
    back, v, u, lamp = _pose(draw)
    size, ratio = draw.uniform(0.27, 0.4), draw.uniform(0.75, 1.0)
    wobble = draw.smooth(draw.unit * 0.3) * 0.012
    r = np.hypot(v, u / ratio)
    distance = r - size + wobble + 0.1 * size * np.cos(np.arctan2(u, v))
    shell = draw.color((0.04, 0.1), (0.4, 0.75), (0.3, 0.7))
    bent = 1.5 * draw.smooth(draw.unit * 0.15)
    ribs = np.sin(np.arctan2(v, u) * int(draw.integers(15, 40)) + bent)
    light = 1 - 0.45 * (r / size) ** 2 + 0.5 * (v * lamp[0] + u * lamp[1])
    light += 0.06 * ribs + 0.07 * draw.fractal(draw.unit * 0.06, 4, 0.7)
    body = shade(shell, light)
    pale = smoothstep(0.35, 0.25, np.hypot(v / size + 0.75, u / size)) * draw.uniform(0, 0.7)
    body = mix(body, draw.color((0.08, 0.12), (0.2, 0.4), (0.6, 0.85)), pale)
    return place(draw, back, body, distance, distance - 0.02)


def circuit_board(draw: Draw) -> Surface:
    """Tracks, plated holes and soldered components."""
    mask = draw.color((0.28, 0.45), (0.4, 0.9), (0.12, 0.45))
    if draw.chance(0.3):
        mask = draw.color((0.5, 1.05), (0.4, 0.9), (0.12, 0.4))
    trace = mask + draw.uniform(0.06, 0.18, 3).astype(np.float32)
    y, x = draw.axes()
    image = np.broadcast_to(mask, (*draw.shape, 3))
    edge, pitch = 0.8 / draw.unit, draw.uniform(0.05, 0.09)
    thick = pitch * draw.uniform(0.18, 0.3)
    v, u = (y, x) if draw.chance(0.5) else (x, y)
    # A bundle of tracks with one 45 degree jog.
    jog = np.clip(u - draw.uniform(-0.3, 0.3), 0, draw.uniform(0.05, 0.25))
    phase = np.abs(((v + jog) / pitch) % 1 - 0.5) * pitch
    reach = smoothstep(edge, -edge, np.abs(v + jog) - draw.uniform(0.2, 0.6))
    image = mix(image, trace, smoothstep(thick / 2 + edge, thick / 2 - edge, phase) * reach)
    pad = np.array([0.8, 0.66, 0.35], np.float32) if draw.chance(0.5) else draw.gray(0.65, 0.9)
    for _ in range(draw.integers(4, 12)):
        cy, cx = draw.uniform(-0.5, 0.5, 2)
        size, hole = draw.uniform(0.02, 0.045), draw.chance(0.5)
        top, left = (
            (cy - 3 * size) * draw.unit + draw.height / 2,
            (cx - 3 * size) * draw.unit + draw.width / 2,
        )
        span = math.ceil(6 * size * draw.unit)
        box = np.s_[max(0, int(top)) : int(top) + span, max(0, int(left)) : int(left) + span]
        tall, wide = np.abs(y[box] - np.float32(cy)), np.abs(x[box] - np.float32(cx))
        if hole:  # plated
            r = np.hypot(tall, wide)
            outer, inner, fill = r - size, r - size / 2, draw.gray(0.02, 0.1)
        else:  # a component between two solder pads
            outer = np.maximum(tall - size, wide - 2.2 * size)
            inner = np.maximum(tall - 0.9 * size, wide - 1.4 * size)
            fill = draw.gray(0.08, 0.3)
        piece = mix(image[box], pad, smoothstep(edge, -edge, outer))
        image[box] = mix(piece, fill, smoothstep(edge, -edge, inner))
    return Surface(shade(image, 1 + 0.02 * draw.smooth(draw.unit * 0.1)))


def cube(draw: Draw) -> Surface:
    """A block seen from above at an angle."""
    back = backdrop(draw)
    y, x = draw.axes()
    size, spin = draw.uniform(0.36, 0.5), draw.uniform(-0.5, 0.5)
    dy, dx = draw.uniform(-0.04, 0.04, 2).astype(np.float32)
    y, x = y - dy, x - dx
    paint = draw.color(saturation=(0.0, 0.9), value=(0.4, 0.95))
    depth, drop = 0.3 * size, size * (0.85 + 0.2 * spin)
    # Seen from above: a top face, a left and a right side below it.
    c = spin * 0.5 * size
    lower = np.where(x < c, (x - c) * 0.35, -(x - c) * 0.35) + depth
    upper = -depth - 0.1 * size + 0.35 * np.abs(x + c) - 0.1
    wide = np.abs(x) - size * 0.75
    distance = np.maximum(np.maximum(upper - y, y - lower - drop * 0.6), wide)
    edge = 0.8 / draw.unit
    top = smoothstep(edge, -edge, y - lower)
    right = smoothstep(-edge, edge, x - c)
    sides = draw.uniform(0.45, 0.95, 2)
    light = top + (1 - top) * (sides[0] + (sides[1] - sides[0]) * right)
    light += draw.uniform(0.01, 0.05) * draw.fractal(draw.unit * 0.1, 4, 0.7)
    body = shade(paint, light)
    return place(draw, back, body, distance, distance - 0.02)


def hex_nut(draw: Draw) -> Surface:
    """A hexagonal nut from above."""
    back, v, u, lamp = _pose(draw)
    size = draw.uniform(0.28, 0.4)
    r, phi = np.hypot(v, u), np.arctan2(v, u)
    sector = math.pi / 3
    side = r * np.cos(phi % sector - sector / 2) - size
    bore = draw.uniform(0.42, 0.6) * size
    distance = np.maximum(side, bore - r)
    light = 1 + 0.2 * (v * lamp[0] + u * lamp[1]) / size
    light += 0.05 * draw.fractal(draw.unit * 0.05, 3)
    light -= 0.3 * smoothstep(bore * 1.15, bore, r) - 0.2 * smoothstep(1.02 * size, 1.1 * size, r)
    metal = _different(draw, back, 0.35, 0.8)
    if draw.chance(0.3):
        metal = draw.color((0.08, 0.14), (0.3, 0.6), (0.5, 0.85))
    body = shade(metal, light)
    return place(draw, back, body, distance, side - 0.02)


def bottle_mouth(draw: Draw) -> Surface:
    """A bottle from above: rings of glass round a dark neck."""
    back, v, u, lamp = _pose(draw)
    size = draw.uniform(0.36, 0.45)
    r = np.hypot(v, u) / size
    glass = draw.color((0.05, 0.45), (0.2, 0.9), (0.15, 0.7))
    light = np.full(draw.shape, 0.9, np.float32)
    for _ in range(draw.integers(3, 6)):
        ring, thick = draw.uniform(0.35, 0.97), draw.uniform(0.02, 0.07)
        light += draw.uniform(-0.4, 0.7) * smoothstep(thick, 0, np.abs(r - ring))
    fan = (v * lamp[0] + u * lamp[1]) / (size * np.maximum(r, 0.1))
    light += 0.25 * fan * (r > 0.5)
    body = shade(glass, light)
    inside = smoothstep(0.55, 0.45, r)
    body = mix(body, glass * draw.uniform(0.1, 0.4), inside)
    distance = (r - 1) * size
    return place(draw, back, body, distance, distance - 0.01)
