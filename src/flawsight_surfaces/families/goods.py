"""Packages and moulded goods."""

import math

import numpy as np

from ..drawing import hardware, lettering, shapes
from ..drawing.noise import axes, color, fractal, gray, lit, mix, shade, smooth, smoothstep, turned
from ..drawing.stamps import lay
from ..drawing.surface import Item, Surface
from .backdrop import backdrop
from .plates import place


def carton(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A printed box front: fields of color, a title, text and a bar code."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    y, x = axes(height, width)
    tall, wide = height / unit * rng.uniform(0.75, 0.95), width / unit * rng.uniform(0.7, 0.95)
    paper = color(rng, saturation=(0, 0.8), value=(0.4, 1))
    body = shade(paper, 1 + 0.02 * smooth(rng, height, width, unit * 0.3))
    for _ in range(rng.integers(1, 4)):
        band = color(rng, saturation=(0.2, 1), value=(0.2, 1))
        low = np.float32(rng.uniform(-0.5, 0.4) * tall)
        slope = np.float32(rng.choice([0.0, 0.0, 0.3, -0.3]))
        v = y + slope * x
        edge = smoothstep(low, low + 2 / unit, v) * smoothstep(
            2 / unit, 0, v - low - np.float32(rng.uniform(0.05, 0.4))
        )
        body = mix(body, band, edge)
    centers: list[tuple[float, float]] = []
    marks = [
        hardware.printed(
            lettering.text(unit * rng.uniform(0.08, 0.14), lettering.words(rng)),
            hardware.ink(rng, paper),
        ),
        hardware.label(rng, unit * rng.uniform(0.12, 0.2), paper),
        hardware.logo(rng, unit * rng.uniform(0.12, 0.25), paper),
        hardware.text(rng, unit * 0.12, paper),
    ]
    for stamp in marks[: int(rng.integers(2, 5))]:
        for _ in range(8):
            at = (height * rng.uniform(0.2, 0.8), width * rng.uniform(0.25, 0.75))
            if all(abs(at[0] - r) > 0.22 * unit for r, _ in centers):
                centers.append(at)
                lay(body, stamp, at, "print")
                break
    distance = shapes.box(y, x, tall, wide, 0.01)
    return place(rng, back, body, distance, distance - 0.03)


def bottle(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A bottle or jar from the side, with a cap and a label round it."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    y, x = axes(height, width)
    long = 0.48 * height / unit
    half, neck = rng.uniform(0.16, 0.3), rng.uniform(0.06, 0.15)
    neck, shoulder = min(neck, 0.8 * half), np.float32(rng.uniform(-0.55, -0.25) * long)
    outline = half + (neck - half) * smoothstep(shoulder + 0.08, shoulder - 0.08, y)
    distance = np.maximum(np.abs(x) - outline, np.abs(y) - long * 0.95).astype(np.float32)
    t = x / outline
    glint = np.exp(-(((t - rng.uniform(-0.6, 0.6)) / 0.12) ** 2))
    light = 0.5 + 0.55 * np.sqrt(np.clip(1 - t * t, 0, 1)) + np.float32(rng.uniform(0, 0.5)) * glint
    glass = color(rng, saturation=(0.0, 0.9), value=(0.15, 0.95))
    body = shade(glass, light.astype(np.float32))
    top = np.float32(-0.95 * long + rng.uniform(0.06, 0.12))
    ribs = 1 + 0.12 * np.sin(np.arcsin(np.clip(t, -1, 1)) * np.float32(40))
    cap = shade(color(rng, value=(0.2, 0.95)), (light * ribs).astype(np.float32))
    body = mix(body, cap, smoothstep(top + 1 / unit, top - 1 / unit, y))
    low, high = np.float32(rng.uniform(-0.05, 0.1) * long), np.float32(rng.uniform(0.5, 0.8) * long)
    paper = color(rng, saturation=(0, 0.6), value=(0.6, 1))
    label = np.broadcast_to(paper, (height, width, 3)).copy()
    center = (height / 2 + float(low + high) / 2 * unit, width / 2)
    lay(label, hardware.text(rng, unit * rng.uniform(0.1, 0.16), paper), center, "text")
    wrapped = shade(label, (0.55 + 0.5 * np.sqrt(np.clip(1 - t * t, 0, 1))).astype(np.float32))
    body = mix(
        body, wrapped, smoothstep(low, low + 1 / unit, y) * smoothstep(high, high - 1 / unit, y)
    )
    return place(rng, back, np.clip(body, 0, 1), distance, distance - 0.02)


def block(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A plain box of one color, one to three faces in view, held or lying somewhere."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    tilt = rng.normal(0, 0.08)
    v, u = turned(height, width, float(tilt))
    dv, du = rng.uniform(-0.15, 0.15, 2)
    v, u = v - np.float32(dv), u - np.float32(du)
    tall, wide = rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.6)
    if rng.random() < 0.5:
        tall = wide
    lean, rise = np.float32(rng.uniform(-0.12, 0.12)), np.float32(rng.uniform(0, 0.15))
    corner = float(rng.choice([0.0, 0.012, 0.03]))
    front = shapes.box(v, u, tall, wide, corner)
    # The top and a side are the front moved back along the line of sight.
    swept = front
    for step in np.linspace(0, 1, 9)[1:]:
        moved = shapes.box(
            v + rise * np.float32(step), u - lean * np.float32(step), tall, wide, corner
        )
        swept = np.minimum(swept, moved)
    paint = color(rng, saturation=(0.0, 1.0), value=(0.35, 0.98))
    if rng.random() < 0.15:
        paint = gray(rng, 0.1, 0.9)
    face = smoothstep(1 / unit, -1 / unit, front)
    on_top = (v < -tall / 2 + 0.002).astype(np.float32)
    sides = rng.uniform(0.5, 1.15, 2).astype(np.float32)
    light = sides[0] * on_top + sides[1] * 0.8 * (1 - on_top)
    light = light + (1 - light) * face + np.float32(rng.uniform(-0.15, 0.15)) * v
    light = light + np.float32(rng.uniform(0, 0.03)) * fractal(rng, height, width, unit * 0.1, 3)
    body = shade(paint, light.astype(np.float32))
    return place(rng, back, np.clip(body, 0, 1), swept, swept - 0.03)


def housing(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A moulded case with ribs, windows, screw bosses and an engraved mark."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    v, u = turned(height, width, float(rng.normal(0, 0.05)))
    tall, wide = height / unit * rng.uniform(0.65, 0.9), width / unit * rng.uniform(0.65, 0.9)
    distance = shapes.box(v, u, tall, wide, rng.uniform(0.02, 0.15))
    paint = gray(rng, 0.05, 0.95) if rng.random() < 0.55 else color(rng, value=(0.2, 0.95))
    light = np.ones((height, width), np.float32)
    grain = smooth(rng, height, width, max(1.5, unit / 100))
    light += lit(grain, 0.7, rng.uniform(0, 0.05)) + 0.04 * smooth(rng, height, width, unit * 0.5)
    step = np.abs(distance + np.float32(rng.uniform(0.03, 0.08)))
    light -= np.float32(rng.uniform(0.1, 0.35)) * smoothstep(0.012, 0.003, step)
    if rng.random() < 0.5:  # vents
        pitch, reach = np.float32(rng.uniform(0.03, 0.06)), rng.uniform(0.08, 0.2)
        cy, cx = rng.uniform(-0.2, 0.2, 2).astype(np.float32)
        inside = np.maximum(np.abs(v - cy) - reach, np.abs(u - cx) - reach * 1.4) < 0
        light = light * np.where(inside & ((v / pitch) % 1 < 0.45), np.float32(0.3), np.float32(1))
    body = shade(paint, light)
    surface = place(rng, back, np.clip(body, 0, 1), distance, distance - 0.03)
    assert surface.region is not None
    stamp = (hardware.boss if rng.random() < 0.5 else hardware.screw)(
        rng, unit * rng.uniform(0.07, 0.12), paint
    )
    items: list[Item] = []
    for i in (-1, 1):
        for j in (-1, 1):
            center = (
                height / 2 + i * (tall / 2 - 0.12) * unit,
                width / 2 + j * (wide / 2 - 0.12) * unit,
            )
            item = lay(surface.image, stamp, center, "screw boss")
            if item is not None:
                items.append(item)
    return Surface(surface.image, surface.region, surface.under, items=tuple(items))


def lens(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A round glass or lamp cover: a clear dome with rings and reflections."""
    back = backdrop(rng, height, width)
    v, u = turned(height, width, float(rng.uniform(0, 6.3)))
    size = rng.uniform(0.32, 0.46)
    r = np.hypot(v, u) / size
    tint = color(rng, saturation=(0, 0.5), value=(0.5, 1))
    body = mix(back, tint, float(rng.uniform(0.2, 0.7)))
    light = 1 - 0.3 * r * r
    if rng.random() < 0.5:  # optics: rings or facets
        light = light + 0.12 * np.sin(r * np.float32(rng.uniform(15, 50)))
    light = light - 0.4 * smoothstep(0.06, 0, np.abs(r - 0.96))
    body = shade(body, light.astype(np.float32))
    for _ in range(rng.integers(1, 4)):
        angle, at = rng.uniform(0, 6.3), rng.uniform(0.2, 0.7)
        d = np.hypot(v / size - at * math.sin(angle), u / size - at * math.cos(angle))
        body = (
            body
            + (smoothstep(rng.uniform(0.08, 0.25), 0.02, d) * np.float32(rng.uniform(0.2, 0.7)))[
                ..., None
            ]
        )
    distance = ((r - 1) * size).astype(np.float32)
    return place(rng, back, np.clip(body, 0, 1), distance, distance - 0.02)
