"""Contamination and damage of the surface in depth: each takes a canvas."""

import math

import numpy as np

from ..drawing.canvas import Canvas, Layer
from ..drawing.fields import along, away, brighten, lit, mix, shade, smoothstep


def _offset(canvas: Canvas, spread: float) -> Canvas:
    """The canvas with its center moved by a random step in pixels."""
    row, column = (
        float(np.clip(c + canvas.normal(0, spread), 0, side - 1))
        for c, side in zip(canvas.center, canvas.shape, strict=True)
    )
    return Canvas(canvas.rng, canvas.surface, (row, column), canvas.difficulty, canvas.shown)


def droplet(canvas: Canvas) -> Layer:
    """One to four drops of liquid: dark on the side of the lamp, a glint on it, bright beyond."""
    image, alpha = canvas.image, np.zeros(canvas.shape, np.float32)
    lamp, tint = canvas.way(), canvas.color((0.0, 1.0), (0.0, 0.5), (0.6, 1.0))
    first = canvas.radius(0.02)
    for i in range(int(canvas.integers(1, 5))):
        spot = canvas if i == 0 else _offset(canvas, 2.5 * first)
        radius = first if i == 0 else max(2.0, first * canvas.uniform(0.4, 0.9))
        distance = spot.blob(radius, 0.06, 1.3)
        fan = along(*spot.offsets(), lamp) / radius
        glint = away(*spot.offsets(), lamp, 0.45 * radius) / radius
        light = 0.95 - 0.4 * fan - 0.35 * smoothstep(0.75, 1.0, distance)
        drop = brighten(shade(image * tint, light), 0.8 * smoothstep(0.3, 0.12, glint))
        body = spot.disc(distance, radius)
        image = mix(image, np.clip(drop, 0, 1), body)
        alpha = np.maximum(alpha, body)
    return Layer(alpha, image)


def swarf(canvas: Canvas) -> Layer:
    """A curled chip of metal with its shadow."""
    length = canvas.unit * canvas.uniform(0.12, 0.4 - 0.1 * canvas.difficulty)
    points = canvas.path(length, canvas.uniform(5, 14), 0.05, canvas.uniform(0, 6.3))
    wide = 1.6 * canvas.line_width()
    widths = wide * (0.6 + 0.4 * np.sin(np.arange(len(points)) * 1.3))
    shift = np.array([0.8, 0.8], np.float32) * wide
    body, dark = canvas.stroke(points, widths), canvas.stroke(points + shift, widths)
    shine = canvas.stroke(points - 0.2 * shift, 0.4 * widths)
    metal = canvas.gray(0.45, 0.8) if canvas.chance(0.7) else canvas.color((0.05, 0.13), (0.3, 0.7))
    image = mix(shade(canvas.image, 1 - 0.6 * dark), metal * 0.7, body)
    image = mix(image, np.clip(metal * 1.5, 0, 1), shine)
    return Layer(np.maximum(body, 0.7 * dark), image)


def particle(canvas: Canvas) -> Layer:
    """A bit of something else that lies there, angular, with its shadow."""
    radius, sides = canvas.radius(0.012), int(canvas.integers(4, 8))
    turns = 2 * math.pi * (np.arange(sides) + canvas.uniform(-0.3, 0.3, sides)) / sides
    distance = canvas.facets(radius, turns, 0.6, 1.3)
    body = canvas.disc(distance, radius)
    step = max(1, round(0.35 * radius))
    dark = np.roll(body, (step, step), (0, 1))
    paint = canvas.gray(0.05, 0.95) if canvas.chance(0.5) else canvas.color(value=(0.2, 1))
    facet = 1 + lit(np.minimum(distance, 1.1) * radius, canvas.uniform(0, 6.3), 0.2)
    image = mix(shade(canvas.image, 1 - 0.55 * dark), shade(paint, facet), body)
    return Layer(np.maximum(body, 0.8 * dark), np.clip(image, 0, 1))


def patch(canvas: Canvas) -> Layer:
    """A piece of another material, with a texture of its own and a rough or sharp outline."""
    radius = canvas.radius(0.08)
    distance = canvas.blob(radius, canvas.uniform(0.05, 0.5))
    size = max(1.5, radius * canvas.uniform(0.08, 0.7))
    if canvas.chance(0.5):
        texture = canvas.fractal(size, 3, 0.8)
    else:
        texture = canvas.smooth((size, size * canvas.uniform(1, 8)))
    first = canvas.gray(0.02, 0.98, 0.06) if canvas.chance(0.4) else canvas.color(value=(0.1, 1))
    second = first * canvas.uniform(0.3, 1.2, 3).astype(np.float32)
    second = canvas.recolored(second, 0.3, value=(0.1, 1.0))
    paint = mix(np.clip(first, 0, 1), np.clip(second, 0, 1), smoothstep(-1, 1, texture))
    return Layer(canvas.disc(distance, radius, canvas.uniform(0, 0.2)), paint)


def fingerprint(canvas: Canvas) -> Layer:
    """The fine bent ridges that a finger leaves."""
    radius = max(8.0, canvas.radius(0.05))
    luma = canvas.local_luma()
    distance = canvas.blob(radius, 0.1, 1.8)
    dy, dx = canvas.offsets()
    rings = np.hypot(dy + 0.5 * radius, dx) + 0.12 * radius * canvas.smooth(radius * 0.8)
    ridge = 0.5 + 0.5 * np.sin(rings * (2 * math.pi / max(3.0, radius / 5)))
    grease = np.full(3, luma * 0.35 if luma > 0.45 else luma + 0.45, np.float32)
    alpha = canvas.disc(distance, radius, 0.15) * (0.3 + 0.7 * ridge)
    return Layer(alpha, mix(canvas.image, grease, 0.5 + 0.4 * canvas.contrast()))


def residue(canvas: Canvas) -> Layer:
    """A heap of powder, crumbs or flux: dense in the middle, single grains around."""
    _, distance = canvas.spot(0.04, 0.3)
    luma = canvas.local_luma()
    grain = canvas.smooth(max(1.5, canvas.unit / 110))
    dense = smoothstep(0.1, 0.5, grain + 1.6 * (0.75 - distance))
    paint = canvas.gray(0.05, 0.95, 0.06) if canvas.chance(0.5) else canvas.color(value=(0.2, 0.9))
    if abs(float(paint.mean()) - luma) < 0.25:
        paint = np.clip(paint + (0.4 if luma < 0.5 else -0.4), 0, 1)
    return Layer(dense * smoothstep(1.7, 1.3, distance), shade(paint, 1 + 0.15 * grain))


def run(canvas: Canvas) -> Layer:
    """A tongue of paint, glue or glaze that ran down and ends in a bead."""
    wide = max(2.0, 1.8 * canvas.line_width())
    long = canvas.unit * canvas.uniform(0.08, 0.35)
    way = float(canvas.choice([0.0, 1.0])) * math.pi / 2 + canvas.normal(0, 0.05)
    points = canvas.path(long, 0.15, 0.0, way + math.pi / 2)
    taper = np.linspace(0.6, 1.0, len(points))
    taper[-max(1, len(points) // 5) :] = 1.7
    body = canvas.stroke(points, wide * taper)
    light = lit(body * (2 * wide), canvas.uniform(0, 6.3), 0.12 * canvas.contrast())
    other = canvas.color(saturation=(0.2, 0.9), value=(0.2, 0.9))
    tint = canvas.local_color() * 0.8 if canvas.chance(0.5) else other
    paint = mix(canvas.image, tint, 0.75)
    return Layer(body, np.clip(shade(paint, 1 + light), 0, 1))


def flaking(canvas: Canvas) -> Layer:
    """The coat has come off in scales: another ground, a light and a dark rim."""
    radius = canvas.radius(0.06)
    luma = canvas.local_luma()
    scales = canvas.fractal(max(3.0, radius * 0.6), 4, 0.8)
    distance = canvas.blob(radius, 0.5) + 0.25 * np.round(scales * 2) / 2
    alpha = canvas.disc(distance, radius)
    ground = canvas.gray(0.1, 0.9, 0.08)
    if abs(float(ground.mean()) - luma) < 0.25:
        ground = np.full(3, 0.12 if luma > 0.5 else 0.85, np.float32)
    rim = lit(alpha * 4, canvas.uniform(0, 6.3), 0.15)
    return Layer(alpha, np.clip(shade(ground, 1 + 0.06 * scales + rim), 0, 1))


def porosity(canvas: Canvas) -> Layer:
    """A nest of small pores."""
    radius = canvas.radius(0.03)
    alpha = np.zeros(canvas.shape, np.float32)
    for _ in range(int(canvas.integers(5, 16))):
        pore = _offset(canvas, radius * 0.7)
        size = max(1.3, canvas.unit * canvas.uniform(0.004, 0.014))
        alpha = np.maximum(alpha, pore.disc(pore.blob(size, 0.0, 1.6), size))
    luma = canvas.local_luma()
    deep = luma * (1 - canvas.contrast()) if luma > 0.25 else luma + 0.4
    return Layer(alpha, np.full(3, deep, np.float32))


def gouge(canvas: Canvas) -> Layer:
    """A broad furrow, one flank light and one dark, material thrown up at its end."""
    length = canvas.unit * canvas.uniform(0.1, 0.35)
    points = canvas.path(length, 0.25, 0.03, canvas.uniform(0, 6.3))
    wide = 2.6 * canvas.line_width()
    widths = np.linspace(0.3, 1.0, len(points)) * wide
    furrow, inner = canvas.stroke(points, widths), canvas.stroke(points, 0.5 * widths)
    strength = canvas.contrast()
    light = lit((furrow + inner) * wide, canvas.uniform(0, 6.3), -0.16 * strength)
    image = brighten(shade(canvas.image, 1 + light - 0.3 * inner), 0.15 * light)
    return Layer(furrow, np.clip(image, 0, 1))


def chatter(canvas: Canvas) -> Layer:
    """A packet of ripples where the tool shook."""
    radius = max(7.0, canvas.radius(0.06))
    distance = canvas.blob(radius, 0.3, 2.0)
    angle = canvas.uniform(0, math.pi)
    ahead = along(*canvas.offsets(), (math.sin(angle), math.cos(angle)))
    ahead = ahead + 0.5 * canvas.smooth(radius * 0.5)
    wave = np.sin(ahead * (2 * math.pi / max(3.0, radius * canvas.uniform(0.25, 0.5))))
    image = shade(canvas.image, 1 + (0.25 + 0.4 * canvas.contrast()) * wave)
    return Layer(canvas.disc(distance, radius, 0.2), np.clip(image, 0, 1))
