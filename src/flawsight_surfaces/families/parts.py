"""Simple objects on a background; shapes are signed distances in units, negative inside."""

import math

import numpy as np

from ..drawing.draw import Draw
from ..drawing.fields import along, away, band, brighten, bulge, mix, near, shade, smoothstep
from ..drawing.shapes import holes, polygon
from ..drawing.surface import Field, Surface, Way
from .backdrop import backdrop, place


def _pose(draw: Draw) -> tuple[Field, Field, Field, Way]:
    """(back, v, u, lamp): backdrop, axes of an object near the center, lamp."""
    back = backdrop(draw)
    v, u = draw.shifted(draw.turned(draw.uniform(0, 2 * math.pi)), 0.06)
    sine, cosine = np.array(draw.way(), np.float32)
    return back, v, u, (sine, cosine)


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
    r, phi = np.hypot(v, u), np.arctan2(v, u)
    rings = np.sin(r * draw.uniform(150, 400))
    light = 1 + 0.04 * rings + draw.uniform(0.05, 0.2) * np.cos(2 * phi)
    step = draw.uniform(0.4, 0.75) * size
    light *= np.where(r < step, draw.uniform(0.75, 1.2), 1.0)
    light -= 0.35 * near(r - step, 0.012)
    light -= 0.3 * smoothstep(size - 0.03, size, r)
    body = shade(_different(draw, back, 0.4, 0.85), light)
    distance = r - size
    bore = draw.uniform(0.15, 0.3) * size
    count = int(draw.integers(0, 7))
    if draw.chance(0.7):
        distance = np.maximum(distance, bore - r)
    if count > 1:  # screw holes
        distance = np.maximum(distance, -holes(r, phi, 0.75 * size, count, 0.08 * size))
    return place(draw, back, body, distance, shadow=away(v, u, lamp, 0.03) - size)


def moulded_cap(draw: Draw) -> Surface:
    """A domed screw cap with a toothed rim."""
    back, v, u, lamp = _pose(draw)
    size, teeth = draw.uniform(0.28, 0.43), int(draw.integers(16, 48))
    r, ribs = np.hypot(v, u), np.sin(np.arctan2(v, u) * teeth)
    light = 0.95 + 0.25 * along(v, u, lamp) / size - 0.25 * smoothstep(0.82 * size, 0.86 * size, r)
    light += 0.15 * ribs * (r > 0.86 * size)
    shine = smoothstep(0.35, 0.0, away(v / size, u / size, lamp, 0.4))
    body = shade(draw.color(saturation=(0.0, 0.95), value=(0.3, 0.98)), light)
    body = brighten(body, shine * draw.uniform(0, 0.5))
    distance = r - size * (1 + 0.025 * ribs)
    return place(draw, back, body, distance, shadow=away(v, u, lamp, -0.04) - size)


def pill(draw: Draw) -> Surface:
    """A round or oblong tablet, at times scored or freckled."""
    back, v, u, lamp = _pose(draw)
    size, long = draw.uniform(0.16, 0.26), draw.uniform(0.0, 0.2)
    distance = np.hypot(v, np.maximum(np.abs(u) - long, 0)) - size
    light = 1 - 0.3 * smoothstep(-0.12, 0.0, distance) + draw.uniform(0.1, 0.35) * along(v, u, lamp)
    coat = draw.color(saturation=(0.0, 0.8), value=(0.6, 0.98))
    if draw.chance(0.5):
        light -= 0.3 * smoothstep(0.014, 0.004, np.abs(u)) * (distance < -0.03)
    body = shade(coat, light)
    if draw.chance(0.3):
        freckles = smoothstep(1.3, 1.9, draw.smooth(draw.unit * 0.015))
        body = mix(body, draw.color(value=(0.2, 0.6)), freckles * 0.5)
    shadow = np.hypot(v + 0.03 * lamp[0], np.maximum(np.abs(u + 0.03 * lamp[1]) - long, 0)) - size
    return place(draw, back, body, distance, shadow=shadow)


def capsule(draw: Draw) -> Surface:
    """A two-colored capsule with a highlight."""
    back, v, u, _ = _pose(draw)
    size, long = draw.uniform(0.11, 0.17), draw.uniform(0.2, 0.28)
    distance = np.hypot(v, np.maximum(np.abs(u) - long, 0)) - size
    first, second = (draw.color(saturation=(0.0, 0.9), value=(0.3, 0.98)) for _ in range(2))
    joint = smoothstep(-0.006, 0.006, u - draw.uniform(-0.08, 0.08))
    body = shade(mix(first, second, joint), 0.6 + 0.45 * bulge(v / size))
    shine = near(v - draw.uniform(0.2, 0.5) * size, 0.03) * (np.abs(u) < long)
    body = brighten(body, shine * draw.uniform(0.1, 0.5))
    return place(draw, back, body, distance, 0.01)


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
    light = 1 - 0.45 * (r / size) ** 2 + 0.5 * along(v, u, lamp)
    light += 0.06 * ribs + 0.07 * draw.fractal(draw.unit * 0.06, 4, 0.7)
    pale = smoothstep(0.35, 0.25, np.hypot(v / size + 0.75, u / size)) * draw.uniform(0, 0.7)
    base = draw.color((0.08, 0.12), (0.2, 0.4), (0.6, 0.85))
    return place(draw, back, mix(shade(shell, light), base, pale), distance)


def circuit_board(draw: Draw) -> Surface:
    """Tracks, plated holes and soldered components."""
    mask = draw.color((0.28, 0.45), (0.4, 0.9), (0.12, 0.45))
    if draw.chance(0.3):
        mask = draw.color((0.5, 1.05), (0.4, 0.9), (0.12, 0.4))
    trace = mask + draw.uniform(0.06, 0.18, 3).astype(np.float32)
    y, x = draw.axes()
    edge, pitch = 0.8 / draw.unit, draw.uniform(0.05, 0.09)
    thick = pitch * draw.uniform(0.18, 0.3)
    v, u = draw.lying()
    # A bundle of tracks with one 45 degree jog.
    v = v + np.clip(u - draw.uniform(-0.3, 0.3), 0, draw.uniform(0.05, 0.25))
    reach = smoothstep(edge, -edge, np.abs(v) - draw.uniform(0.2, 0.6))
    tracks = band(((v / pitch) % 1 - 0.5) * pitch, thick / 2, edge) * reach
    image = mix(np.broadcast_to(mask, (*draw.shape, 3)), trace, tracks)
    pad = np.array([0.8, 0.66, 0.35], np.float32) if draw.chance(0.5) else draw.gray(0.65, 0.9)
    for _ in range(draw.integers(4, 12)):
        cy, cx = draw.uniform(-0.5, 0.5, 2)
        size, plated = draw.uniform(0.02, 0.045), draw.chance(0.5)
        top = int((cy - 3 * size) * draw.unit + draw.height / 2)
        left = int((cx - 3 * size) * draw.unit + draw.width / 2)
        span = math.ceil(6 * size * draw.unit)
        box = np.s_[max(0, top) : top + span, max(0, left) : left + span]
        tall, wide = np.abs(y[box] - np.float32(cy)), np.abs(x[box] - np.float32(cx))
        if plated:
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
    size, spin = draw.uniform(0.36, 0.5), draw.uniform(-0.5, 0.5)
    y, x = draw.shifted(draw.axes(), 0.04)
    paint = draw.color(saturation=(0.0, 0.9), value=(0.4, 0.95))
    depth, drop = 0.3 * size, size * (0.85 + 0.2 * spin)
    # Seen from above: a top face, a left and a right side below it.
    c = spin * 0.5 * size
    lower = np.where(x < c, (x - c) * 0.35, -(x - c) * 0.35) + depth
    upper = -depth - 0.1 * size + 0.35 * np.abs(x + c) - 0.1
    distance = np.maximum(np.maximum(upper - y, y - lower - drop * 0.6), np.abs(x) - size * 0.75)
    edge = 0.8 / draw.unit
    top, right = smoothstep(edge, -edge, y - lower), smoothstep(-edge, edge, x - c)
    sides = draw.uniform(0.45, 0.95, 2)
    light = top + (1 - top) * (sides[0] + (sides[1] - sides[0]) * right)
    light += draw.uniform(0.01, 0.05) * draw.fractal(draw.unit * 0.1, 4, 0.7)
    return place(draw, back, shade(paint, light), distance)


def hex_nut(draw: Draw) -> Surface:
    """A hexagonal nut from above."""
    back, v, u, lamp = _pose(draw)
    size, r = draw.uniform(0.28, 0.4), np.hypot(v, u)
    side = polygon(v, u, size, 6)
    bore = draw.uniform(0.42, 0.6) * size
    light = 1 + 0.2 * along(v, u, lamp) / size + 0.05 * draw.fractal(draw.unit * 0.05, 3)
    light -= 0.3 * smoothstep(bore * 1.15, bore, r) - 0.2 * smoothstep(1.02 * size, 1.1 * size, r)
    metal = _different(draw, back, 0.35, 0.8)
    if draw.chance(0.3):
        metal = draw.color((0.08, 0.14), (0.3, 0.6), (0.5, 0.85))
    return place(draw, back, shade(metal, light), np.maximum(side, bore - r), shadow=side - 0.02)


def bottle_mouth(draw: Draw) -> Surface:
    """A bottle from above: rings of glass round a dark neck."""
    back, v, u, lamp = _pose(draw)
    size = draw.uniform(0.36, 0.45)
    r = np.hypot(v, u) / size
    glass = draw.color((0.05, 0.45), (0.2, 0.9), (0.15, 0.7))
    light = np.full(draw.shape, 0.9, np.float32)
    for _ in range(draw.integers(3, 6)):
        ring, thick = draw.uniform(0.35, 0.97), draw.uniform(0.02, 0.07)
        light += draw.uniform(-0.4, 0.7) * near(r - ring, thick)
    light += 0.25 * along(v, u, lamp) / (size * np.maximum(r, 0.1)) * (r > 0.5)
    neck = glass * draw.uniform(0.1, 0.4)
    body = mix(shade(glass, light), neck, smoothstep(0.55, 0.45, r))
    return place(draw, back, body, (r - 1) * size, 0.01)
