"""Stamps of small things that are fixed to a surface or made in it; sizes in pixels.

All take what to draw with, a size and the color (3,) of the ground around.
"""

import math
from collections.abc import Callable

import numpy as np

from . import lettering, shapes
from .draw import Draw
from .fields import along, away, brighten, mix, shade, smoothstep
from .surface import Field, Stamp, Way

MakeStamp = Callable[[Draw, float, Field], Stamp]


class Disc:
    """The sheet of a round thing of a diameter in pixels, with a lamp somewhere beside it.

    y, x, r: (h, w) from the center, in pixels; fan: -1 on the far rim .. 1 on that near the lamp.
    """

    def __init__(self, draw: Draw, size: float, margin: float = 3.0) -> None:
        self.radius, self.lamp = size / 2, draw.way()
        self.y, self.x = shapes.sheet(size, size, margin)
        self.r = np.hypot(self.y, self.x)
        self.fan = along(self.y, self.x, self.lamp) / self.radius
        self.alpha = shapes.solid(self.r - self.radius)

    def shadow(self, dark: float, grow: float, shift: float, blur: float = 0.5) -> Field:
        """What it throws on the ground, its radius and distance relative to the disc's."""
        shadow = disc_shadow(self.y, self.x, self.radius * grow, self.lamp, shift * self.radius)
        return dark * shapes.solid(shadow, blur)


def disc_shadow(y: Field, x: Field, radius: float, lamp: Way, shift: float) -> Field:
    """The distance to the shadow of a disc away from a lamp."""
    return shapes.disc(y + (shift * lamp[0]), x + (shift * lamp[1]), radius)


def _metal(draw: Draw) -> Field:
    if draw.chance(0.25):
        return draw.color((0.08, 0.14), (0.3, 0.6), (0.5, 0.85))  # brass
    return draw.gray(0.35, 0.85)


def ink(draw: Draw, ground: Field) -> Field:
    """A color (3,) that is easily read on a ground (3,)."""
    level = float(ground.mean())
    if draw.chance(0.35):
        bright = level < 0.45
        return draw.color(saturation=(0.6, 1), value=(0.75, 1.0) if bright else (0.1, 0.5))
    return draw.gray(0.8, 1.0) if level < 0.45 else draw.gray(0.0, 0.2)


def hole(draw: Draw, size: float, ground: Field) -> Stamp:
    """A drilled or countersunk hole."""
    sunk = draw.uniform(0.55, 0.75) if draw.chance(0.4) else 0.88
    disc = Disc(draw, size)
    inside = draw.gray(0.0, 0.15, 0.02)
    if float(ground.mean()) < 0.2 or draw.chance(0.12):  # one sees the bright table through it
        inside = draw.gray(0.75, 0.98)
    flank, dark = shade(ground, 0.85 - 0.4 * disc.fan), shade(inside, 1 + 0.3 * disc.fan)
    return Stamp(disc.alpha, mix(flank, dark, shapes.solid(disc.r - disc.radius * sunk)))


def slot(draw: Draw, size: float, ground: Field) -> Stamp:
    """A long hole or inlet with round or square ends."""
    long, high = size * draw.uniform(1.6, 3.2), size * 0.8
    if draw.chance(0.5):
        long, high = high, long
    y, x = shapes.sheet(high, long, 2)
    distance = shapes.box(y, x, high, long, min(high, long) * float(draw.choice([0.5, 0.15])))
    dark = draw.gray(0.02, 0.18) if float(ground.mean()) > 0.25 else draw.gray(0.6, 0.9)
    rim = shade(ground, 1 + 0.3 * np.sign(y + x))
    return Stamp(shapes.solid(distance), mix(rim, dark, shapes.solid(distance + 0.06 * size)))


def screw(draw: Draw, size: float, ground: Field) -> Stamp:
    """A screw head with a slot, a cross or a socket."""
    disc, turn = Disc(draw, size), draw.uniform(0, math.pi)
    metal = _metal(draw) if draw.chance(0.8) else draw.gray(0.08, 0.2)
    radius, r = disc.radius, disc.r
    light = 0.95 + 0.3 * disc.fan - 0.35 * smoothstep(0.75 * radius, radius, r)
    c, s = math.cos(turn), math.sin(turn)
    v, u = c * disc.y + s * disc.x, c * disc.x - s * disc.y
    kind = draw.integers(4)
    if kind == 0:
        drive = np.maximum(np.abs(v) - 0.13 * radius, np.abs(u) - 0.9 * radius)
    elif kind == 1:
        drive = shapes.cross(v, u, 0.6 * radius, 0.3 * radius)
    else:
        drive = shapes.polygon(v, u, 0.4 * radius, 6)
    if kind == 3:  # a hexagonal head around the socket
        r = shapes.polygon(v, u, 0.88 * radius, 6) + radius
    body = mix(shade(metal, light), metal * 0.2, shapes.solid(drive))
    return Stamp(shapes.solid(r - radius), body, disc.shadow(0.4, 1.05, 0.12))


def rivet(draw: Draw, size: float, ground: Field) -> Stamp:
    """A dome of metal, or of the color of the ground."""
    disc = Disc(draw, size)
    metal = ground if draw.chance(0.5) else _metal(draw)
    light = 1 + 0.45 * disc.fan - 0.25 * smoothstep(0.7 * disc.radius, disc.radius, disc.r)
    glint = away(disc.y / disc.radius, disc.x / disc.radius, disc.lamp, 0.4)
    body = brighten(shade(metal, light), 0.3 * smoothstep(0.4, 0.1, glint))
    return Stamp(disc.alpha, body, disc.shadow(0.45, 1.1, 0.15))


def dimple(draw: Draw, size: float, ground: Field) -> Stamp:
    """The clean round hollow of a drill point."""
    disc = Disc(draw, size, 2)
    r = disc.r / disc.radius
    light = 0.85 - 0.5 * disc.fan * smoothstep(0.05, 0.3, r) - 0.3 * smoothstep(0.5, 0.0, r)
    return Stamp(shapes.solid((r - 1) * disc.radius), shade(ground, light))


def boss(draw: Draw, size: float, ground: Field) -> Stamp:
    """A raised ring moulded on, with a round hole."""
    disc = Disc(draw, size)
    ring, hole = shade(ground, 1.1 + 0.25 * disc.fan), shapes.solid(disc.r - 0.5 * disc.radius)
    return Stamp(disc.alpha, mix(ring, ground * 0.25, hole), disc.shadow(0.35, 1.05, 0.2))


def sticker(draw: Draw, size: float, ground: Field) -> Stamp:
    """A round or square sticker of one color, at times with a letter or a ring."""
    y, x = shapes.sheet(size, size, 3)
    paint = draw.color(saturation=(0.5, 1), value=(0.5, 1.0))
    for _ in range(4):
        if float(np.abs(paint - ground).max()) > 0.35:
            break
        paint = draw.color(saturation=(0.5, 1), value=(0.3, 1.0))
    distance = shapes.disc(y, x, size / 2)
    if draw.chance(0.4):
        distance = shapes.box(y, x, size, size, 0.1 * size)
    body = np.broadcast_to(paint, (*y.shape, 3))
    if draw.chance(0.6) and size > 10:
        mark = lettering.text(size * 0.5, lettering.words(draw, 2))
        body = stamped(body, mark, ink(draw, paint))
    return Stamp(shapes.solid(distance), body, 0.25 * shapes.solid(distance - 1, 0.5))


def stamped(body: Field, alpha: Field, paint: Field) -> Field:
    """A sheet (h, w, 3) with a mark (a, b) in its middle, cut to fit."""
    h, w = body.shape[:2]
    a, b = min(h, alpha.shape[0]), min(w, alpha.shape[1])
    top, left = (h - a) // 2, (w - b) // 2
    full = np.zeros((h, w), np.float32)
    full[top : top + a, left : left + b] = alpha[:a, :b]
    return mix(body, paint, full)


def label(draw: Draw, size: float, ground: Field) -> Stamp:
    """A paper label with print, a bar code or both."""
    h, w = size * draw.uniform(0.9, 1.5), size * draw.uniform(1.4, 2.4)
    paper = draw.gray(0.82, 1.0, 0.02)
    paper = draw.recolored(paper, 0.25, saturation=(0.3, 0.9), value=(0.6, 1.0))
    y, x = shapes.sheet(h, w, 3)
    body = np.broadcast_to(paper, (*y.shape, 3)).copy()
    black = draw.gray(0.0, 0.25)
    inner_h, inner_w = int(h * 0.8), int(w * 0.85)
    top, left = (y.shape[0] - inner_h) // 2, (y.shape[1] - inner_w) // 2
    alpha = np.zeros(y.shape, np.float32)
    split = inner_h if draw.chance(0.4) else inner_h // 2
    lines = lettering.paragraph(draw, split, inner_w, max(4.0, h * draw.uniform(0.12, 0.22)))
    alpha[top : top + split, left : left + inner_w] = lines
    if split < inner_h and inner_w > 12:
        code = lettering.barcode(draw, inner_h - split - 1, inner_w)
        alpha[top + split + 1 : top + inner_h, left : left + inner_w] = code
    distance = shapes.box(y, x, h, w, h * float(draw.choice([0.02, 0.12])))
    shadow = 0.25 * shapes.solid(distance - 1, 0.5)
    return Stamp(shapes.solid(distance), mix(body, black, alpha), shadow)


def printed(alpha: Field, paint: Field) -> Stamp:
    """A mark (h, w) in one paint (3,)."""
    return Stamp(alpha, np.broadcast_to(paint, (*alpha.shape, 3)))


def text(draw: Draw, size: float, ground: Field) -> Stamp:
    """One or two lines of print, at times upright."""
    lines = [lettering.text(size * 0.45, lettering.words(draw)) for _ in range(draw.integers(1, 3))]
    width = max(line.shape[1] for line in lines)
    alpha = np.vstack([np.pad(line, ((1, 1), (0, width - line.shape[1]))) for line in lines])
    if draw.chance(0.2):
        alpha = np.rot90(alpha).copy()
    return printed(alpha, ink(draw, ground))


def engraving(draw: Draw, size: float, ground: Field) -> Stamp:
    """Text stamped into the surface: darker, its lower rim light."""
    alpha = np.pad(lettering.text(size * 0.55, lettering.words(draw, 6)), 2)
    lip = np.roll(alpha, (1, 1), (0, 1)) * (1 - alpha)
    body = np.broadcast_to(ground * 0.45, (*alpha.shape, 3))
    body = mix(body, np.clip(ground * 1.35, 0, 1), lip)
    return Stamp(np.maximum(alpha, 0.7 * lip), body)


def logo(draw: Draw, size: float, ground: Field) -> Stamp:
    """A printed geometric mark."""
    return printed(lettering.logo(draw, size * 1.2), ink(draw, ground))


def barcode(draw: Draw, size: float, ground: Field) -> Stamp:
    """A bar code on a white field, or in ink on a light ground."""
    h, w = int(size * draw.uniform(0.7, 1.3)), int(size * draw.uniform(1.5, 2.6))
    code = np.pad(lettering.barcode(draw, h, w), 3)
    paint = np.where(code > 0.5, 0.05, np.float32(0.95))
    return Stamp(np.ones_like(code), np.stack([paint] * 3, axis=2))


def matrix_code(draw: Draw, size: float, ground: Field) -> Stamp:
    """A square code, printed or etched."""
    code = np.pad(lettering.matrix_code(draw, max(14, int(size * 1.2))), 2)
    dark, light = draw.gray(0.0, 0.15, 0.01), draw.gray(0.8, 1.0, 0.01)
    if draw.chance(0.3):
        dark, light = light, dark
    return Stamp(np.ones_like(code), mix(np.broadcast_to(light, (*code.shape, 3)), dark, code))
