"""Surfaces with a regular structure."""

import math

import numpy as np

from ..drawing.draw import Draw
from ..drawing.fields import lit, mix, shade, smoothstep
from ..drawing.surface import Field, Surface


def _wobbled(draw: Draw, amount: float) -> tuple[Field, Field]:
    """Turned axes that bend a little, as no real lattice is perfect: (v, u) in units."""
    v, u = draw.turned(draw.turn() + draw.normal(0, 0.03))
    dv, du = (draw.smooth(draw.unit * 0.4) * np.float32(amount) for _ in range(2))
    return v + dv + np.float32(draw.random()), u + du + np.float32(draw.random())


def _lattice(v: Field, u: Field, period: float, aspect: float = 1.0) -> tuple[Field, Field]:
    """Coordinates within each cell of a lattice, -0.5..0.5."""
    return (v / period) % 1 - 0.5, (u / (period * aspect)) % 1 - 0.5


def _threads(draw: Draw, warp: Field, weft: Field, over: int) -> Surface:
    """Cloth of two colors (3,); over = how many threads each passes (1 plain, 2.. twill)."""
    count = draw.uniform(12, 30)
    v, u = _wobbled(draw, draw.uniform(0, 0.006))
    a, b = v * count, u * count
    on_top = (np.floor(a) + np.floor(b)) % (over + 1) < over
    light = np.abs(np.sin(np.where(on_top, b, a) * np.pi)) ** 0.7 * 0.6 + 0.45
    light = light * (1 + 0.06 * draw.smooth(draw.unit / 90))
    return Surface(shade(np.where(on_top[..., None], warp, weft), light))


def woven_fabric(draw: Draw) -> Surface:
    """Plain weave of one or two colors."""
    warp = draw.color(saturation=(0.0, 0.7), value=(0.35, 0.98))
    weft = warp * draw.uniform(0.75, 1.1, 3).astype(np.float32)
    weft = draw.recolored(weft, 0.25, saturation=(0.0, 0.7), value=(0.35, 0.98))
    return _threads(draw, warp, weft, 1)


def denim(draw: Draw) -> Surface:
    """Twill of blue and pale threads."""
    blue = draw.color((0.57, 0.66), (0.3, 0.7), (0.25, 0.7))
    return _threads(draw, blue, draw.gray(0.6, 0.85), int(draw.integers(2, 4)))


def knitted_fabric(draw: Draw) -> Surface:
    """Columns of V-shaped stitches."""
    base = draw.color(saturation=(0.05, 0.85), value=(0.3, 0.95))
    v, u = _wobbled(draw, 0.006)
    b, a = _lattice(v, u, 1 / draw.uniform(9, 18))
    # Each stitch is a V: the phase along the column depends on the distance from its middle.
    stitch = np.sin((b + np.abs(a) * 1.2) * (2 * math.pi))
    light = 0.75 + 0.22 * stitch - 0.9 * np.maximum(np.abs(a) - 0.35, 0)
    return Surface(shade(base, light + 0.05 * draw.smooth(draw.unit / 80)))


def carpet(draw: Draw) -> Surface:
    """Rows of fuzzy tufts."""
    base = draw.color(saturation=(0.0, 0.5), value=(0.3, 0.8))
    v, u = _wobbled(draw, 0.008)
    b, a = _lattice(v, u, 1 / draw.uniform(14, 28), draw.uniform(0.7, 1.4))
    grain = draw.fractal(draw.unit / 40, 3, 0.9)
    tuft = 0.95 * (1 - 2.2 * (a * a + b * b))
    return Surface(shade(base, tuft + draw.uniform(0.06, 0.16) * grain))


def wire_mesh(draw: Draw) -> Surface:
    """Crossed round wires before a plain ground."""
    wire, back = draw.gray(0.5, 0.9), draw.gray(0.03, 0.3, 0.05)
    if draw.chance(0.3):
        wire, back = draw.gray(0.05, 0.3), draw.gray(0.7, 0.95)
    v, u = _wobbled(draw, 0.004)
    if draw.chance(0.4):
        v, u = (v + u) * 0.7071, (v - u) * 0.7071
    period, thick = 1 / draw.uniform(6, 13), draw.uniform(0.1, 0.18)
    b, a = _lattice(v, u, period, draw.uniform(0.8, 1.3))
    edge = 0.8 / (draw.unit * period)
    distance = np.minimum(np.abs(a), np.abs(b))
    cover = smoothstep(thick + edge, thick - edge, distance)
    round_wire = np.sqrt(np.clip(1 - (distance / thick) ** 2, 0.08, 1))
    return Surface(mix(back, shade(wire, round_wire), cover))


def perforated_sheet(draw: Draw) -> Surface:
    """Sheet with rows of round holes, straight or staggered."""
    sheet = draw.gray(0.4, 0.85) if draw.chance(0.6) else draw.color(value=(0.3, 0.9))
    v, u = _wobbled(draw, 0.0)
    period, hole = 1 / draw.uniform(4, 11), draw.uniform(0.18, 0.36)
    if draw.chance(0.5):  # staggered rows
        u = u + np.floor(v / period) * (period / 2)
    b, a = _lattice(v, u, period)
    edge = 0.8 / (draw.unit * period)
    cover = smoothstep(hole + edge, hole - edge, np.hypot(a, b))
    rim = smoothstep(0.08, 0.0, np.abs(np.hypot(a - 0.02, b - 0.02) - hole)) * 0.25
    image = shade(sheet, 1 + rim + 0.03 * draw.smooth(draw.unit * 0.3))
    return Surface(mix(image, draw.gray(0.02, 0.15), cover))


def striped_cloth(draw: Draw) -> Surface:
    """Bands of three colors."""
    palette = [draw.color(saturation=(0.0, 0.9), value=(0.2, 0.98)) for _ in range(3)]
    v, _ = _wobbled(draw, 0.004)
    period = draw.uniform(0.08, 0.3)
    phase, edge = (v / period) % 1, 0.8 / (draw.unit * period)
    image, limits = palette[0], (draw.uniform(0.2, 0.5), draw.uniform(0.6, 0.8))
    for paint, limit in zip(palette[1:], limits, strict=True):
        image = mix(image, paint, smoothstep(limit - edge, limit + edge, phase))
    grain = draw.smooth(draw.unit / 120)
    return Surface(shade(image, 1 + draw.uniform(0.01, 0.05) * grain))


def tiled_wall(draw: Draw) -> Surface:
    """Glazed tiles with joints, stacked or in bond."""
    glaze, joint = draw.color(saturation=(0.0, 0.6), value=(0.4, 0.97)), draw.gray(0.3, 0.85)
    v, u = _wobbled(draw, 0.0)
    period, aspect = draw.uniform(0.15, 0.45), float(draw.choice([1.0, 2.0]))
    if draw.chance(0.5):
        u = u + np.floor(v / period) * (period * aspect / 2)
    b, a = _lattice(v, u, period, aspect)
    inset = np.minimum(0.5 - np.abs(b), (0.5 - np.abs(a)) * aspect) * period
    edge, gap = 0.8 / draw.unit, draw.uniform(0.006, 0.014)
    number = np.floor(v / period) * 7.3 + np.floor(u / (period * aspect))
    tint = np.sin(number * 12.9898 + 1) * draw.uniform(0, 0.06)
    tile = shade(glaze, 1 + tint + 0.02 * draw.smooth(draw.unit * 0.1))
    return Surface(mix(joint, tile, smoothstep(gap - edge, gap + edge, inset)))


def ribbed_rubber(draw: Draw) -> Surface:
    """Parallel ribs as on a mat or belt."""
    base = draw.gray(0.12, 0.4, 0.03)
    v, _ = _wobbled(draw, 0.0)
    rib = np.sin(v * (2 * math.pi * draw.uniform(6, 16)))
    light = 1 + draw.uniform(0.2, 0.5) * np.tanh(rib * draw.uniform(1, 4))
    return Surface(shade(base, light + 0.06 * draw.smooth(draw.unit / 130)))


def knurled_metal(draw: Draw) -> Surface:
    """Diamonds pressed into metal."""
    v, u = _wobbled(draw, 0.0)
    count, steep = draw.uniform(9, 18), draw.uniform(0.5, 1.0)
    a, b = (v * steep + u) * count, (v * steep - u) * count
    relief = np.minimum(np.abs(a % 1 - 0.5), np.abs(b % 1 - 0.5))
    light = 0.85 + lit(relief, draw.uniform(0, 6.3), draw.uniform(0.6, 1.2) * draw.unit / 192)
    return Surface(shade(draw.gray(0.4, 0.75), light + relief))


def turned_metal(draw: Draw) -> Surface:
    """Concentric grooves from a lathe."""
    base = draw.gray(0.4, 0.8) if draw.chance(0.75) else draw.color((0.08, 0.13), (0.2, 0.5))
    y, x = draw.shifted(draw.axes(), 0.7)
    profile = draw.rng.standard_normal(512, dtype=np.float32)
    place = np.hypot(y, x) * draw.uniform(90, 200)
    low = place.astype(np.intp)
    part = place - low
    grooves = profile[low % 512] * (1 - part) + profile[(low + 1) % 512] * part
    # Concentric grooves throw the light back as two bright fans.
    fan = np.cos(2 * np.arctan2(y, x) + draw.uniform(0, 6.3))
    light = 1 + draw.uniform(0.04, 0.12) * grooves + draw.uniform(0.05, 0.2) * fan
    return Surface(shade(base, light + 0.03 * draw.smooth(draw.unit * 0.3)))


def printed_label(draw: Draw) -> Surface:
    """Lines of print on a pale label."""
    sheet = draw.color(saturation=(0.0, 0.3), value=(0.75, 0.98))
    ink = draw.color(value=(0.05, 0.5))
    v, u = draw.turned(float(draw.integers(4)) * math.pi / 2 + draw.normal(0, 0.04))
    line, glyph = draw.uniform(0.06, 0.13), draw.uniform(0.02, 0.04)
    b, a = (v / line + 20) % 1, (u / glyph + 60) % 1
    row, column = np.floor(v / line).astype(np.intp), np.floor(u / glyph).astype(np.intp)
    letters = draw.random((64, 64), dtype=np.float32)[row % 64, column % 64]
    part = 1 / (draw.unit * glyph)
    stem = smoothstep(0.25 - part, 0.25 + part, a) * smoothstep(0.95 + part, 0.95 - part, a)
    tall = np.where(letters > 0.6, 0.2, 0.35)
    cover = stem * (b > tall) * (b < 0.75) * (letters > 0.15)
    return Surface(mix(shade(sheet, 1 + 0.015 * draw.smooth(draw.unit * 0.2)), ink, cover))


def printed_cloth(draw: Draw) -> Surface:
    """Cloth with a motif that repeats: dots, flowers, diamonds, checks or waves."""
    ground = draw.color(saturation=(0.0, 0.9), value=(0.15, 0.98))
    v, u = _wobbled(draw, draw.uniform(0, 0.02))
    period = draw.uniform(0.07, 0.3)
    kind = draw.integers(5)
    row = np.floor(v / period)
    b, a = _lattice(v, u + 0.5 * period * (row % 2) * (kind < 3), period)
    r, phi = np.hypot(b, a), np.arctan2(b, a)
    petals = int(draw.integers(3, 8))
    distance = (
        r - 0.3,
        r - 0.3 * (0.7 + 0.3 * np.cos(petals * phi + row)),
        np.abs(b) + np.abs(a) - 0.35,
        np.minimum(np.abs(b), np.abs(a)) - 0.12,
        np.abs(b + 0.15 * np.sin(a * 2 * math.pi)) - 0.15,
    )[kind]
    ink = draw.color(saturation=(0.0, 1.0), value=(0.1, 1.0))
    edge = 0.8 / (draw.unit * period)
    image = mix(ground, ink, smoothstep(edge, -edge, distance))
    if draw.chance(0.5):
        other = draw.color(value=(0.1, 1.0))
        image = mix(image, other, smoothstep(edge, -edge, r - draw.uniform(0.06, 0.15)))
    folds = draw.fractal(draw.unit * draw.uniform(0.2, 0.6), 2)
    weave = np.sin(v * 300) * np.sin(u * 300)
    light = 1 + draw.uniform(0, 0.12) * folds + 0.04 * weave + 0.03 * draw.smooth(1.5)
    return Surface(shade(image, light))
