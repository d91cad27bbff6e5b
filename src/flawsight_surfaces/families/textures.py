"""Homogeneous surfaces: one material over the whole image."""

import math

import numpy as np

from ..drawing.noise import (
    axes,
    cells,
    color,
    fractal,
    gray,
    lit,
    mix,
    shade,
    smooth,
    smoothstep,
    streaks,
    turn,
    turned,
)
from ..drawing.surface import Field, Surface


def _gloss(rng: np.random.Generator, height: int, width: int, strength: float) -> Field:
    """A soft highlight band somewhere over the image, (H, W) in [0, strength]."""
    v, _ = turned(height, width, float(rng.uniform(0, 2 * math.pi)))
    offset, spread = rng.uniform(-0.6, 0.6), rng.uniform(0.08, 0.4)
    result: Field = np.float32(strength) * np.exp(-(((v - offset) / spread) ** 2)).astype(
        np.float32
    )
    return result


def brushed_metal(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Steel or brass with fine parallel grooves."""
    unit = min(height, width)
    base = gray(rng, 0.35, 0.8) if rng.random() < 0.75 else color(rng, (0.07, 0.13), (0.2, 0.5))
    lines = streaks(rng, height, width, unit * rng.uniform(0.3, 1.5), unit / 150, turn(rng))
    wide = smooth(rng, height, width, unit * 0.6)
    light = 1 + rng.uniform(0.04, 0.16) * lines + 0.05 * wide
    return Surface(shade(base, light) + _gloss(rng, height, width, rng.uniform(0, 0.2))[..., None])


def cast_metal(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A rough casting skin lit from the side."""
    unit = min(height, width)
    relief = fractal(rng, height, width, unit * rng.uniform(0.02, 0.07), 4, 0.7)
    light = 1 + lit(relief, rng.uniform(0, 6.3), rng.uniform(0.05, 0.2) * unit / 192)
    light += rng.uniform(0.02, 0.08) * smooth(rng, height, width, unit * 0.25)
    return Surface(shade(gray(rng, 0.25, 0.65), light))


def painted_metal(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Even paint with slight orange peel and a highlight."""
    unit = min(height, width)
    base = color(rng, saturation=(0.0, 0.9), value=(0.2, 0.95))
    peel = fractal(rng, height, width, unit * rng.uniform(0.015, 0.05), 2)
    light = 1 + lit(peel, rng.uniform(0, 6.3), rng.uniform(0.01, 0.06) * unit / 192)
    return Surface(shade(base, light) + _gloss(rng, height, width, rng.uniform(0, 0.3))[..., None])


def marble(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Clouded stone with bent veins."""
    unit = min(height, width)
    light_stone = color(rng, (0.0, 0.2), (0.0, 0.15), (0.7, 0.95))
    dark_stone = color(rng, (0.0, 1.0), (0.0, 0.4), (0.1, 0.5))
    if rng.random() < 0.3:
        light_stone, dark_stone = dark_stone, light_stone
    v, _ = turned(height, width, float(rng.uniform(0, 6.3)))
    bend = fractal(rng, height, width, unit * rng.uniform(0.25, 0.5), 5)
    vein = 1 - np.abs(np.sin(v * np.float32(rng.uniform(3, 9)) + bend * rng.uniform(0.7, 1.6)))
    vein = vein ** np.float32(rng.uniform(3, 9)) * np.float32(rng.uniform(0.3, 0.9))
    cloud = smoothstep(-1.5, 2.5, fractal(rng, height, width, unit * 0.3)) * 0.3
    return Surface(mix(light_stone, dark_stone, np.maximum(vein, cloud).astype(np.float32)))


def anodised(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Strongly colored metal with a fine grain and a sheen."""
    unit = min(height, width)
    base = color(rng, saturation=(0.4, 0.95), value=(0.25, 0.8))
    grain = smooth(rng, height, width, unit / 150) * rng.uniform(0.02, 0.06)
    gloss = _gloss(rng, height, width, rng.uniform(0.05, 0.25))
    return Surface(shade(base, 1 + grain.astype(np.float32)) + gloss[..., None])


def granite(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Several minerals in grains of their own size."""
    unit = min(height, width)
    image = np.broadcast_to(gray(rng, 0.35, 0.75, 0.08), (height, width, 3))
    for _ in range(3):
        mineral = gray(rng, 0.1, 0.9, 0.08)
        grain = fractal(rng, height, width, unit * rng.uniform(0.015, 0.05), 2)
        limit = rng.uniform(0.4, 1.2)
        image = mix(image, mineral, smoothstep(limit, limit + 0.4, grain) * rng.uniform(0.3, 0.8))
    return Surface(image)


def concrete(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Gray and cloudy with small pores."""
    unit = min(height, width)
    light = 1 + rng.uniform(0.04, 0.1) * fractal(rng, height, width, unit * 0.4, 6, 0.7)
    pores = smoothstep(2.0, 2.5, smooth(rng, height, width, unit * rng.uniform(0.008, 0.02)))
    return Surface(shade(gray(rng, 0.4, 0.8, 0.03), light * (1 - 0.35 * pores)))


def wood(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Solid wood: year rings, bent, with fine fibres."""
    unit = min(height, width)
    pale = color(rng, (0.05, 0.11), (0.3, 0.65), (0.45, 0.9))
    dark = pale * rng.uniform(0.4, 0.75, 3).astype(np.float32)
    angle = turn(rng)
    v, u = turned(height, width, angle)
    bend = smooth(rng, height, width, unit * rng.uniform(0.4, 0.9)) * rng.uniform(0.02, 0.12)
    rings = rng.uniform(4, 16)
    wave = np.sin((v + bend + 0.15 * u * u) * np.float32(2 * math.pi * rings)) * 0.5 + 0.5
    fibre = streaks(rng, height, width, unit * 0.3, unit / 120, -angle)
    amount = 0.55 * wave ** np.float32(rng.uniform(1, 3)) + 0.12 * fibre + 0.1
    return Surface(mix(pale, dark, np.clip(amount, 0, 1).astype(np.float32)))


def veneer(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Straight-grained wood in fine and broad streaks."""
    unit = min(height, width)
    pale = color(rng, (0.03, 0.12), (0.15, 0.7), (0.3, 0.9))
    angle = turn(rng)
    fine = streaks(rng, height, width, unit * 0.5, unit / 130, angle)
    broad = streaks(rng, height, width, unit * 2.0, unit / 14, angle)
    light = 1 + rng.uniform(0.04, 0.09) * fine + rng.uniform(0.04, 0.1) * broad
    return Surface(shade(pale, light))


def leather(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Pebbles parted by dark furrows."""
    unit = min(height, width)
    base = color(rng, (0.0, 0.12), (0.1, 0.75), (0.15, 0.75))
    if rng.random() < 0.3:
        base = color(rng, value=(0.15, 0.8))
    near, second, _ = cells(rng, height, width, max(3.0, unit * rng.uniform(0.02, 0.045)), 1.0)
    pebble = smoothstep(0.0, 0.45, second - near)
    light = 1 - rng.uniform(0.15, 0.4) * (1 - pebble)
    light += 0.05 * fractal(rng, height, width, unit * 0.3, 3)
    return Surface(shade(base, light.astype(np.float32)))


def paper(rng: np.random.Generator, height: int, width: int) -> Surface:
    """White or tinted sheet, at times ruled."""
    unit = min(height, width)
    base = color(rng, saturation=(0.0, 0.25), value=(0.75, 0.97))
    if rng.random() < 0.25:
        base = color(rng, saturation=(0.3, 0.7), value=(0.6, 0.9))
    light = 1 + rng.uniform(0.005, 0.03) * fractal(rng, height, width, unit * 0.08, 4, 0.8)
    image = shade(base, light)
    if rng.random() < 0.4:  # ruled lines are part of good paper
        v, _ = turned(height, width, turn(rng))
        period = rng.uniform(0.08, 0.2)
        line = smoothstep(0.012, 0.004, np.abs((v / period) % 1 - 0.5) * np.float32(period))
        image = mix(image, color(rng, value=(0.2, 0.6)), line * rng.uniform(0.3, 0.8))
    return Surface(image)


def cardboard(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Brown board whose flutes show through."""
    unit = min(height, width)
    base = color(rng, (0.07, 0.11), (0.25, 0.5), (0.5, 0.8))
    angle = turn(rng)
    v, _ = turned(height, width, angle)
    flutes = np.sin(v * np.float32(2 * math.pi * rng.uniform(10, 24)))
    fibres = fractal(rng, height, width, unit * 0.03, 3, 0.8)
    light = 1 + rng.uniform(0.01, 0.06) * flutes + rng.uniform(0.02, 0.05) * fibres
    return Surface(shade(base, light.astype(np.float32)))


def foil(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Crumpled, shiny metal foil."""
    unit = min(height, width)
    base = gray(rng, 0.45, 0.75) if rng.random() < 0.7 else color(rng, saturation=(0.3, 0.7))
    folds = fractal(rng, height, width, unit * rng.uniform(0.1, 0.25), 3)
    light = 1 + rng.uniform(0.12, 0.3) * np.sin(folds * np.float32(rng.uniform(1.5, 3)))
    light += _gloss(rng, height, width, rng.uniform(0.1, 0.4))
    return Surface(shade(base, light.astype(np.float32)))


def rubber(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Dark, dull and finely grained."""
    unit = min(height, width)
    base = gray(rng, 0.08, 0.35, 0.02)
    if rng.random() < 0.3:
        base = color(rng, saturation=(0.2, 0.7), value=(0.2, 0.6))
    grain = smooth(rng, height, width, unit / 120) * rng.uniform(0.05, 0.16)
    cloud = smooth(rng, height, width, unit * 0.4) * 0.06
    image = shade(base, 1 + grain + cloud)
    return Surface(image + _gloss(rng, height, width, rng.uniform(0, 0.12))[..., None])


def glossy_plastic(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Smooth plastic that mirrors a lamp."""
    base = color(rng, saturation=(0.0, 0.95), value=(0.1, 0.95))
    light = 1 + 0.05 * smooth(rng, height, width, min(height, width) * 0.5)
    gloss = _gloss(rng, height, width, rng.uniform(0.15, 0.5))
    if rng.random() < 0.5:  # a lamp or window mirrored in the surface
        y, x = axes(height, width)
        dy, dx = rng.uniform(-0.4, 0.4, 2).astype(np.float32)
        gloss = gloss + smoothstep(0.12, 0.05, np.hypot(y - dy, (x - dx) / 2)) * 0.5
    return Surface(shade(base, light) + gloss[..., None])


def grained_plastic(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Plastic from a mould with an etched grain."""
    unit = min(height, width)
    base = color(rng, saturation=(0.0, 0.8), value=(0.12, 0.85))
    relief = smooth(rng, height, width, max(1.5, unit * rng.uniform(0.008, 0.025)))
    light = 1 + lit(relief, rng.uniform(0, 6.3), rng.uniform(0.05, 0.14) * unit / 192)
    return Surface(shade(base, light))


def film(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Clear film or glass with faint sheens."""
    unit = min(height, width)
    base = color(rng, (0.35, 0.65), (0.02, 0.3), (0.5, 0.95))
    light = 1 + rng.uniform(0.01, 0.05) * smooth(rng, height, width, unit * 0.5)
    image = shade(base, light)
    for _ in range(rng.integers(1, 4)):
        image = image + _gloss(rng, height, width, rng.uniform(0.03, 0.15))[..., None]
    return Surface(image)


def ceramic(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Pale glaze, at times freckled."""
    unit = min(height, width)
    base = color(rng, saturation=(0.0, 0.3), value=(0.6, 0.97))
    freckle = color(rng, (0.02, 0.12), (0.2, 0.6), (0.2, 0.6))
    dots = smoothstep(1.4, 2.0, smooth(rng, height, width, unit * rng.uniform(0.01, 0.03)))
    image = mix(base, freckle, dots * rng.uniform(0, 0.7))
    return Surface(image + _gloss(rng, height, width, rng.uniform(0, 0.2))[..., None])


def felt(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Matted fibres in all directions."""
    unit = min(height, width)
    base = color(rng, saturation=(0.1, 0.9), value=(0.2, 0.85))
    light = np.ones((height, width), np.float32)
    for _ in range(3):
        light += rng.uniform(0.04, 0.08) * streaks(
            rng, height, width, unit * 0.06, unit / 140, rng.uniform(0, 3.2)
        )
    return Surface(shade(base, light))


def speckled_flooring(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Terrazzo or vinyl with scattered colored chips."""
    unit = min(height, width)
    near, _, value = cells(rng, height, width, max(3.0, unit * rng.uniform(0.025, 0.07)), 0.9)
    base = gray(rng, 0.3, 0.85, 0.08)
    chips = np.stack([color(rng, value=(0.1, 0.95)) for _ in range(5)])
    picked = chips[(value * 5).astype(np.intp)]
    amount = smoothstep(0.5, 0.38, near + 0.12 * smooth(rng, height, width, unit / 60))
    return Surface(mix(base, picked, amount * rng.uniform(0.4, 1.0)))
