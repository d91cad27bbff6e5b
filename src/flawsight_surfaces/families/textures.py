"""Homogeneous surfaces: one material over the whole image."""

import math

import numpy as np

from ..drawing.draw import Draw
from ..drawing.fields import bell, lit, mix, shade, smoothstep
from ..drawing.surface import Field, Surface


def _gloss(draw: Draw, strength: float) -> Field:
    """A soft highlight band somewhere over the image, (H, W) in [0, strength]."""
    v, _ = draw.turned(draw.uniform(0, 2 * math.pi))
    band = bell(v - draw.uniform(-0.6, 0.6), draw.uniform(0.08, 0.4))
    return np.asarray(strength * band, np.float32)


def brushed_metal(draw: Draw) -> Surface:
    """Steel or brass with fine parallel grooves."""
    base = draw.gray(0.35, 0.8) if draw.chance(0.75) else draw.color((0.07, 0.13), (0.2, 0.5))
    lines = draw.streaks(draw.unit * draw.uniform(0.3, 1.5), draw.unit / 150, draw.turn())
    wide = draw.smooth(draw.unit * 0.6)
    light = 1 + draw.uniform(0.04, 0.16) * lines + 0.05 * wide
    return Surface(shade(base, light) + _gloss(draw, draw.uniform(0, 0.2))[..., None])


def cast_metal(draw: Draw) -> Surface:
    """A rough casting skin lit from the side."""
    relief = draw.fractal(draw.unit * draw.uniform(0.02, 0.07), 4, 0.7)
    light = 1 + lit(relief, draw.uniform(0, 6.3), draw.uniform(0.05, 0.2) * draw.unit / 192)
    light += draw.uniform(0.02, 0.08) * draw.smooth(draw.unit * 0.25)
    return Surface(shade(draw.gray(0.25, 0.65), light))


def painted_metal(draw: Draw) -> Surface:
    """Even paint with slight orange peel and a highlight."""
    base = draw.color(saturation=(0.0, 0.9), value=(0.2, 0.95))
    peel = draw.fractal(draw.unit * draw.uniform(0.015, 0.05), 2)
    light = 1 + lit(peel, draw.uniform(0, 6.3), draw.uniform(0.01, 0.06) * draw.unit / 192)
    return Surface(shade(base, light) + _gloss(draw, draw.uniform(0, 0.3))[..., None])


def marble(draw: Draw) -> Surface:
    """Clouded stone with bent veins."""
    light_stone = draw.color((0.0, 0.2), (0.0, 0.15), (0.7, 0.95))
    dark_stone = draw.color((0.0, 1.0), (0.0, 0.4), (0.1, 0.5))
    if draw.chance(0.3):
        light_stone, dark_stone = dark_stone, light_stone
    v, _ = draw.turned(draw.uniform(0, 6.3))
    bend = draw.fractal(draw.unit * draw.uniform(0.25, 0.5), 5)
    vein = 1 - np.abs(np.sin(v * draw.uniform(3, 9) + bend * draw.uniform(0.7, 1.6)))
    vein = vein ** draw.uniform(3, 9) * draw.uniform(0.3, 0.9)
    cloud = smoothstep(-1.5, 2.5, draw.fractal(draw.unit * 0.3)) * 0.3
    return Surface(mix(light_stone, dark_stone, np.maximum(vein, cloud)))


def anodised(draw: Draw) -> Surface:
    """Strongly colored metal with a fine grain and a sheen."""
    base = draw.color(saturation=(0.4, 0.95), value=(0.25, 0.8))
    grain = draw.smooth(draw.unit / 150) * draw.uniform(0.02, 0.06)
    return Surface(shade(base, 1 + grain) + _gloss(draw, draw.uniform(0.05, 0.25))[..., None])


def granite(draw: Draw) -> Surface:
    """Several minerals in grains of their own size."""
    image = np.broadcast_to(draw.gray(0.35, 0.75, 0.08), (*draw.shape, 3))
    for _ in range(3):
        mineral = draw.gray(0.1, 0.9, 0.08)
        grain = draw.fractal(draw.unit * draw.uniform(0.015, 0.05), 2)
        limit = draw.uniform(0.4, 1.2)
        image = mix(image, mineral, smoothstep(limit, limit + 0.4, grain) * draw.uniform(0.3, 0.8))
    return Surface(image)


def concrete(draw: Draw) -> Surface:
    """Gray and cloudy with small pores."""
    light = 1 + draw.uniform(0.04, 0.1) * draw.fractal(draw.unit * 0.4, 6, 0.7)
    pores = smoothstep(2.0, 2.5, draw.smooth(draw.unit * draw.uniform(0.008, 0.02)))
    return Surface(shade(draw.gray(0.4, 0.8, 0.03), light * (1 - 0.35 * pores)))


def wood(draw: Draw) -> Surface:
    """Solid wood: year rings, bent, with fine fibres."""
    pale = draw.color((0.05, 0.11), (0.3, 0.65), (0.45, 0.9))
    dark = pale * draw.uniform(0.4, 0.75, 3).astype(np.float32)
    angle = draw.turn()
    v, u = draw.turned(angle)
    bend = draw.smooth(draw.unit * draw.uniform(0.4, 0.9)) * draw.uniform(0.02, 0.12)
    rings = draw.uniform(4, 16)
    wave = np.sin((v + bend + 0.15 * u * u) * (2 * math.pi * rings)) * 0.5 + 0.5
    fibre = draw.streaks(draw.unit * 0.3, draw.unit / 120, -angle)
    amount = 0.55 * wave ** draw.uniform(1, 3) + 0.12 * fibre + 0.1
    return Surface(mix(pale, dark, np.clip(amount, 0, 1)))


def veneer(draw: Draw) -> Surface:
    """Straight-grained wood in fine and broad streaks."""
    pale = draw.color((0.03, 0.12), (0.15, 0.7), (0.3, 0.9))
    angle = draw.turn()
    fine = draw.streaks(draw.unit * 0.5, draw.unit / 130, angle)
    broad = draw.streaks(draw.unit * 2.0, draw.unit / 14, angle)
    light = 1 + draw.uniform(0.04, 0.09) * fine + draw.uniform(0.04, 0.1) * broad
    return Surface(shade(pale, light))


def leather(draw: Draw) -> Surface:
    """Pebbles parted by dark furrows."""
    base = draw.color((0.0, 0.12), (0.1, 0.75), (0.15, 0.75))
    base = draw.recolored(base, 0.3, value=(0.15, 0.8))
    near, second, _ = draw.cells(max(3.0, draw.unit * draw.uniform(0.02, 0.045)), 1.0)
    pebble = smoothstep(0.0, 0.45, second - near)
    light = 1 - draw.uniform(0.15, 0.4) * (1 - pebble) + 0.05 * draw.fractal(draw.unit * 0.3, 3)
    return Surface(shade(base, light))


def paper(draw: Draw) -> Surface:
    """White or tinted sheet, at times ruled."""
    base = draw.color(saturation=(0.0, 0.25), value=(0.75, 0.97))
    base = draw.recolored(base, 0.25, saturation=(0.3, 0.7), value=(0.6, 0.9))
    image = shade(base, 1 + draw.uniform(0.005, 0.03) * draw.fractal(draw.unit * 0.08, 4, 0.8))
    if draw.chance(0.4):  # ruled lines are part of good paper
        v, _ = draw.turned(draw.turn())
        period = draw.uniform(0.08, 0.2)
        line = smoothstep(0.012, 0.004, np.abs((v / period) % 1 - 0.5) * period)
        image = mix(image, draw.color(value=(0.2, 0.6)), line * draw.uniform(0.3, 0.8))
    return Surface(image)


def cardboard(draw: Draw) -> Surface:
    """Brown board whose flutes show through."""
    base = draw.color((0.07, 0.11), (0.25, 0.5), (0.5, 0.8))
    v, _ = draw.turned(draw.turn())
    flutes = np.sin(v * (2 * math.pi * draw.uniform(10, 24)))
    fibres = draw.fractal(draw.unit * 0.03, 3, 0.8)
    light = 1 + draw.uniform(0.01, 0.06) * flutes + draw.uniform(0.02, 0.05) * fibres
    return Surface(shade(base, light))


def foil(draw: Draw) -> Surface:
    """Crumpled, shiny metal foil."""
    base = draw.gray(0.45, 0.75) if draw.chance(0.7) else draw.color(saturation=(0.3, 0.7))
    folds = draw.fractal(draw.unit * draw.uniform(0.1, 0.25), 3)
    light = 1 + draw.uniform(0.12, 0.3) * np.sin(folds * draw.uniform(1.5, 3))
    light += _gloss(draw, draw.uniform(0.1, 0.4))
    return Surface(shade(base, light))


def rubber(draw: Draw) -> Surface:
    """Dark, dull and finely grained."""
    base = draw.gray(0.08, 0.35, 0.02)
    base = draw.recolored(base, 0.3, saturation=(0.2, 0.7), value=(0.2, 0.6))
    grain = draw.smooth(draw.unit / 120) * draw.uniform(0.05, 0.16)
    image = shade(base, 1 + grain + draw.smooth(draw.unit * 0.4) * 0.06)
    return Surface(image + _gloss(draw, draw.uniform(0, 0.12))[..., None])


def glossy_plastic(draw: Draw) -> Surface:
    """Smooth plastic that mirrors a lamp."""
    base = draw.color(saturation=(0.0, 0.95), value=(0.1, 0.95))
    light = 1 + 0.05 * draw.smooth(draw.unit * 0.5)
    gloss = _gloss(draw, draw.uniform(0.15, 0.5))
    if draw.chance(0.5):  # a lamp or window mirrored in the surface
        y, x = draw.shifted(draw.axes(), 0.4)
        gloss = gloss + smoothstep(0.12, 0.05, np.hypot(y, x / 2)) * 0.5
    return Surface(shade(base, light) + gloss[..., None])


def grained_plastic(draw: Draw) -> Surface:
    """Plastic from a mould with an etched grain."""
    base = draw.color(saturation=(0.0, 0.8), value=(0.12, 0.85))
    relief = draw.smooth(max(1.5, draw.unit * draw.uniform(0.008, 0.025)))
    light = 1 + lit(relief, draw.uniform(0, 6.3), draw.uniform(0.05, 0.14) * draw.unit / 192)
    return Surface(shade(base, light))


def film(draw: Draw) -> Surface:
    """Clear film or glass with faint sheens."""
    base = draw.color((0.35, 0.65), (0.02, 0.3), (0.5, 0.95))
    image = shade(base, 1 + draw.uniform(0.01, 0.05) * draw.smooth(draw.unit * 0.5))
    for _ in range(draw.integers(1, 4)):
        image = image + _gloss(draw, draw.uniform(0.03, 0.15))[..., None]
    return Surface(image)


def ceramic(draw: Draw) -> Surface:
    """Pale glaze, at times freckled."""
    base = draw.color(saturation=(0.0, 0.3), value=(0.6, 0.97))
    freckle = draw.color((0.02, 0.12), (0.2, 0.6), (0.2, 0.6))
    dots = smoothstep(1.4, 2.0, draw.smooth(draw.unit * draw.uniform(0.01, 0.03)))
    image = mix(base, freckle, dots * draw.uniform(0, 0.7))
    return Surface(image + _gloss(draw, draw.uniform(0, 0.2))[..., None])


def felt(draw: Draw) -> Surface:
    """Matted fibres in all directions."""
    base = draw.color(saturation=(0.1, 0.9), value=(0.2, 0.85))
    light = np.ones(draw.shape, np.float32)
    for _ in range(3):
        strength, angle = draw.uniform(0.04, 0.08), draw.uniform(0, 3.2)
        light += strength * draw.streaks(draw.unit * 0.06, draw.unit / 140, angle)
    return Surface(shade(base, light))


def speckled_flooring(draw: Draw) -> Surface:
    """Terrazzo or vinyl with scattered colored chips."""
    near, _, value = draw.cells(max(3.0, draw.unit * draw.uniform(0.025, 0.07)), 0.9)
    base = draw.gray(0.3, 0.85, 0.08)
    chips = np.stack([draw.color(value=(0.1, 0.95)) for _ in range(5)])
    picked = chips[(value * 5).astype(np.intp)]
    amount = smoothstep(0.5, 0.38, near + 0.12 * draw.smooth(draw.unit / 60))
    return Surface(mix(base, picked, amount * draw.uniform(0.4, 1.0)))


def asphalt(draw: Draw) -> Surface:
    """Stones of several grays bound in dark tar, or washed concrete."""
    near, second, value = draw.cells(max(3.0, draw.unit * draw.uniform(0.012, 0.05)), 1.0)
    stone = smoothstep(0.02, 0.25, second - near)
    light = 0.5 + 0.6 * stone * (0.5 + value) + 0.1 * draw.smooth(draw.unit / 120)
    light += draw.uniform(0, 0.15) * draw.fractal(draw.unit * 0.4, 3)
    return Surface(shade(draw.gray(0.15, 0.6, 0.03), light))


def foam(draw: Draw) -> Surface:
    """A sponge or foamed plastic: open pores of many sizes."""
    base = draw.color(saturation=(0.0, 0.8), value=(0.2, 0.98))
    light = np.ones(draw.shape, np.float32)
    for share in (1.0, 0.4):
        size = draw.unit * draw.uniform(0.03, 0.07) * share
        pores = smoothstep(0.5, 1.6, draw.fractal(size, 2))
        light -= draw.uniform(0.15, 0.4) * pores
    return Surface(shade(base, light + 0.05 * draw.smooth(draw.unit / 120)))
