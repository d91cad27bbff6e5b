"""Packages, food, moulded goods and building materials."""

import math

import numpy as np

from . import hardware, lettering, shapes
from .backdrop import backdrop
from .items import lay
from .noise import (
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
from .plates import place
from .sample import Field, Item, Stamp, Surface


def _dough(rng: np.random.Generator) -> Field:
    return color(rng, (0.05, 0.12), (0.3, 0.7), (0.45, 0.92))


def biscuit(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Baked dough: an uneven outline, a cracked and bumpy top, bits in it."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    v, u = turned(height, width, float(rng.uniform(0, 2 * math.pi)))
    size, square = rng.uniform(0.28, 0.43), rng.random() < 0.3
    wobble = smooth(rng, height, width, unit * 0.25) * np.float32(rng.uniform(0.004, 0.02))
    r = np.hypot(v, u)
    if square:
        r = shapes.box(v, u, 1.5 * size, 1.5 * size, 0.3 * size) + np.float32(size)
    distance = r - size + wobble + 0.004 * fractal(rng, height, width, unit * 0.05, 2)
    relief = fractal(rng, height, width, unit * rng.uniform(0.05, 0.15), 4, 0.75)
    light = 1 + lit(relief, rng.uniform(0, 6.3), rng.uniform(0.15, 0.5) * unit / 192)
    light += 0.06 * fractal(rng, height, width, unit * 0.02, 2)
    furrow = smoothstep(0.12, 0.02, np.abs(relief - np.float32(rng.uniform(-0.5, 0.5))))
    light -= np.float32(rng.uniform(0, 0.35)) * furrow
    light -= np.float32(rng.uniform(0.1, 0.4)) * smoothstep(-0.1, 0.0, distance)
    body = shade(_dough(rng), light.astype(np.float32))
    if rng.random() < 0.7:  # chocolate, raisins, nuts
        near, _, value = cells(rng, height, width, unit * rng.uniform(0.07, 0.14), 0.9)
        bits = smoothstep(0.36, 0.28, near + 0.1 * relief) * (value < rng.uniform(0.15, 0.6))
        dark = color(rng, (0.03, 0.09), (0.4, 0.7), (0.1, 0.35))
        body = mix(
            body, shade(dark, np.clip(light, 0.5, 1.5).astype(np.float32)), bits.astype(np.float32)
        )
    return place(rng, back, np.clip(body, 0, 1), distance, distance - 0.02)


def cracker(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A flat baked square or round with docker holes in rows and toothed edges."""
    unit = min(height, width)
    image = backdrop(rng, height, width)
    v, u = turned(height, width, float(rng.normal(0, 0.15)))
    size = rng.uniform(0.6, 0.84)
    tooth = 0.008 * np.sin(np.float32(60) * u) * np.sin(np.float32(60) * v)
    distance = shapes.box(v, u, size, size, 0.06)
    if rng.random() < 0.3:
        distance = shapes.disc(v, u, size / 2)
    distance = distance + tooth
    toast = fractal(rng, height, width, unit * 0.1, 4, 0.8)
    light = 1 + 0.08 * toast - 0.25 * smoothstep(-0.07, 0.0, distance)
    holes = int(rng.integers(3, 6))
    pitch = np.float32(size * 0.85 / holes)
    b, a = (v / pitch + holes / 2) % 1 - 0.5, (u / pitch + holes / 2) % 1 - 0.5
    hole = smoothstep(0.09, 0.05, np.hypot(a, b)) * (distance < -0.04)
    light = light - 0.5 * hole + 0.1 * smoothstep(0.35, 0.1, np.hypot(a, b))
    body = shade(_dough(rng), light.astype(np.float32))
    return place(rng, image, np.clip(body, 0, 1), distance, distance - 0.02)


def chocolate_bar(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Moulded pieces in rows with sloping flanks, at times with a mark on each."""
    unit = min(height, width)
    v, u = turned(height, width, float(rng.integers(2)) * math.pi / 2 + float(rng.normal(0, 0.04)))
    period, aspect = np.float32(rng.uniform(0.18, 0.45)), np.float32(rng.uniform(0.8, 1.8))
    b = (v / period + np.float32(rng.random())) % 1 - 0.5
    a = (u / (period * aspect) + np.float32(rng.random())) % 1 - 0.5
    flank = np.float32(rng.uniform(0.1, 0.2))
    top = smoothstep(0.47, 0.47 - flank, np.abs(b)) * smoothstep(0.47, 0.47 - flank, np.abs(a))
    relief = top * np.float32(unit * 0.05)
    light = 0.85 + lit(relief, rng.uniform(0, 6.3), 0.15) + 0.25 * top
    if rng.random() < 0.5:
        ring = smoothstep(0.06, 0.02, np.abs(np.hypot(b, a * aspect) - rng.uniform(0.12, 0.25)))
        light = light - 0.18 * ring
    light += 0.03 * smooth(rng, height, width, unit * 0.05)
    base = color(rng, (0.03, 0.09), (0.3, 0.75), (0.2, 0.95))
    return Surface(shade(base, light.astype(np.float32)))


def fruit(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A round fruit with a skin of dots and blushes, and its stalk."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    v, u = turned(height, width, float(rng.uniform(0, 2 * math.pi)))
    size, ratio = rng.uniform(0.28, 0.42), np.float32(rng.uniform(0.75, 1.1))
    r = np.hypot(v / ratio, u)
    wobble = smooth(rng, height, width, unit * 0.5) * np.float32(0.01)
    distance = (r - size + wobble).astype(np.float32)
    first = color(rng, (0.0, 0.35), (0.5, 0.95), (0.45, 0.95))
    second = color(rng, (-0.05, 0.3), (0.5, 0.95), (0.4, 0.95))
    blush = smoothstep(-1, 1.2, smooth(rng, height, width, unit * 0.4)) * np.float32(
        rng.uniform(0, 1)
    )
    body = mix(first, second, blush)
    dots = smoothstep(1.5, 2.2, smooth(rng, height, width, unit * rng.uniform(0.012, 0.03)))
    body = mix(body, np.clip(first * 1.3, 0, 1), dots * np.float32(rng.uniform(0, 0.6)))
    angle = rng.uniform(0, 6.3)
    fan = (v * np.float32(math.sin(angle)) + u * np.float32(math.cos(angle))) / size
    light = 1.05 - 0.5 * (r / size) ** 2 + 0.3 * fan
    shine = smoothstep(
        0.3, 0.0, np.hypot(v / size - 0.4 * math.sin(angle), u / size - 0.4 * math.cos(angle))
    )
    body = (
        shade(body, light.astype(np.float32)) + (shine * np.float32(rng.uniform(0, 0.5)))[..., None]
    )
    if rng.random() < 0.6:
        stalk = np.hypot(v / size + 0.05, (u / size - 0.1) * 1.2)
        body = mix(
            body, color(rng, (0.06, 0.2), (0.3, 0.6), (0.15, 0.4)), smoothstep(0.14, 0.07, stalk)
        )
    return place(rng, back, np.clip(body, 0, 1), distance, distance - 0.03)


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


def tyre_tread(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Black rubber blocks between grooves, mirrored about the middle."""
    unit = min(height, width)
    v, u = turned(height, width, float(rng.integers(2)) * math.pi / 2)
    w = np.abs(v)
    period, slant = np.float32(rng.uniform(0.1, 0.3)), np.float32(rng.uniform(0, 1.2))
    lane = np.float32(rng.uniform(0.14, 0.3))
    column = np.floor(w / lane)
    b = (w / lane) % 1
    a = ((u + slant * w) / period + 0.37 * column) % 1
    groove = np.maximum(
        smoothstep(0.12, 0.06, np.minimum(b, 1 - b)), smoothstep(0.14, 0.08, np.minimum(a, 1 - a))
    )
    sipe = smoothstep(0.05, 0.02, np.abs(a - 0.5)) * np.float32(rng.choice([0, 0.5]))
    light = 1 - 0.75 * groove - 0.4 * sipe + 0.05 * smooth(rng, height, width, unit / 120)
    light += 0.1 * smooth(rng, height, width, unit * 0.4)
    return Surface(shade(gray(rng, 0.12, 0.4, 0.02), np.clip(light, 0.05, 2).astype(np.float32)))


def brick_wall(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Rough bricks of slightly different shades in mortar."""
    unit = min(height, width)
    v, u = turned(height, width, float(rng.normal(0, 0.03)))
    tall = np.float32(rng.uniform(0.1, 0.28))
    long = tall * np.float32(rng.uniform(2, 3.2))
    row = np.floor(v / tall + 50)
    a, b = (u / long + 50 + 0.5 * (row % 2)), (v / tall + 50) % 1 - 0.5
    shades = rng.uniform(0.75, 1.2, 256).astype(np.float32)
    number = (row * 31 + np.floor(a) * 7).astype(np.intp) % 256
    inset = np.minimum((0.5 - np.abs(b)) * tall, (0.5 - np.abs(a % 1 - 0.5)) * long)
    inset = inset + 0.004 * smooth(rng, height, width, unit * 0.04)
    rough = fractal(rng, height, width, unit * 0.04, 4, 0.8)
    base = color(rng, (0.0, 0.1), (0.2, 0.7), (0.35, 0.8))
    brick = shade(base, (shades[number] * (1 + 0.08 * rough)).astype(np.float32))
    mortar = shade(gray(rng, 0.4, 0.85, 0.04), 1 + 0.06 * rough)
    joint = np.float32(rng.uniform(0.006, 0.014))
    return Surface(mix(mortar, brick, smoothstep(joint - 0.004, joint + 0.004, inset)))


def parquet(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Wooden staves side by side, each of its own shade and grain."""
    unit = min(height, width)
    angle = turn(rng)
    v, u = turned(height, width, angle)
    wide, long = np.float32(rng.uniform(0.1, 0.35)), np.float32(rng.uniform(0.5, 1.5))
    row = np.floor(v / wide + 20)
    column = np.floor(u / long + 20 + 0.37 * row)
    shades = rng.uniform(0.72, 1.2, 256).astype(np.float32)
    tone = shades[((row * 17 + column * 5).astype(np.intp)) % 256]
    grain = streaks(rng, height, width, unit * 0.6, unit / 90, -angle)
    waves = np.sin((v + 0.03 * grain + 0.02 * row) * np.float32(rng.uniform(60, 140)))
    light = tone * (1 + 0.07 * grain + np.float32(rng.uniform(0.01, 0.06)) * waves)
    gap = np.minimum(np.abs((v / wide) % 1 - 0.5), 9) * wide
    joint = smoothstep(0.5 * wide - 1.5 / unit, 0.5 * wide, gap)
    end = np.abs((u / long + 0.37 * row) % 1 - 0.5) * long
    joint = np.maximum(joint, smoothstep(0.5 * long - 1.5 / unit, 0.5 * long, end))
    base = color(rng, (0.04, 0.11), (0.25, 0.65), (0.4, 0.9))
    return Surface(shade(base, (light * (1 - 0.5 * joint)).astype(np.float32)))


def wicker(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Broad bands woven over and under, as in baskets, mats and straps."""
    unit = min(height, width)
    v, u = turned(height, width, turn(rng))
    count = np.float32(rng.uniform(4, 12))
    a, b = v * count + 40, u * count + 40
    over = (np.floor(a) + np.floor(b)) % 2 < 1
    across, along = np.where(over, a % 1, b % 1) - 0.5, np.where(over, b % 1, a % 1) - 0.5
    light = 0.55 + 0.55 * np.sqrt(np.clip(1 - (2 * across) ** 2, 0, 1)) - 0.25 * (2 * along) ** 2
    fibre = np.sin(across * np.float32(rng.uniform(15, 40)))
    light += 0.06 * fibre + 0.05 * smooth(rng, height, width, unit / 90)
    first = color(rng, saturation=(0.1, 0.7), value=(0.3, 0.95))
    second = first * rng.uniform(0.7, 1.1, 3).astype(np.float32)
    if rng.random() < 0.3:
        second = color(rng, value=(0.2, 0.95))
    return Surface(shade(np.where(over[..., None], first, second), light.astype(np.float32)))


def rope(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A laid or braided cord through the image."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    v, u = turned(height, width, float(rng.uniform(0, math.pi)))
    half, pitch = rng.uniform(0.1, 0.3), np.float32(rng.uniform(0.08, 0.25))
    slant = np.float32(rng.uniform(0.5, 1.2)) * (np.sign(v) if rng.random() < 0.4 else 1)
    phase = ((u + slant * v) / pitch) % 1
    strand = np.sin(phase * np.float32(math.pi))
    fibre = np.sin((u * 0.4 + slant * v * 1.6) * np.float32(rng.uniform(80, 160)))
    light = (0.3 + 0.75 * strand) * (0.5 + 0.6 * np.sqrt(np.clip(1 - (v / half) ** 2, 0, 1)))
    light = light * (1 + 0.1 * fibre + 0.05 * smooth(rng, height, width, unit / 80))
    distance = (np.abs(v) - half * (0.94 + 0.06 * strand)).astype(np.float32)
    base = color(rng, saturation=(0.0, 0.9), value=(0.3, 1.0))
    return place(
        rng, back, shade(base, np.clip(light, 0, 1.6).astype(np.float32)), distance, distance - 0.02
    )


def zipper(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Two rows of teeth in each other between woven tapes."""
    unit = min(height, width)
    across = rng.random() < 0.5
    y, x = axes(height, width)
    v, u = (y, x) if across else (x, y)
    tape = color(rng, saturation=(0, 0.9), value=(0.1, 0.9))
    weave = np.sin(u * 150) * np.sin(v * 150)
    image = shade(
        tape, (1 + 0.1 * weave + 0.04 * smooth(rng, height, width, unit / 40)).astype(np.float32)
    )
    pitch = unit * rng.uniform(0.05, 0.1)
    long, thick = unit * rng.uniform(0.1, 0.18), pitch * rng.uniform(0.6, 0.75)
    metal = gray(rng, 0.5, 0.9) if rng.random() < 0.5 else color(rng, value=(0.3, 0.95))
    py, px = shapes.sheet(thick, long, 2) if not across else shapes.sheet(long, thick, 2)
    side = np.abs(py) / (py.max() or 1) if not across else np.abs(px) / (px.max() or 1)
    body = shade(metal, (1.15 - 0.5 * side * side).astype(np.float32))
    tooth = shapes.box(py, px, *((thick, long) if not across else (long, thick)), thick * 0.3)
    stamp = Stamp(shapes.solid(tooth), np.clip(body, 0, 1), 0.3 * shapes.solid(tooth - 1, 0.5))
    run = width if across else height
    items: list[Item] = []
    for i in range(min(100, int(run / pitch) + 1)):
        off = (1 if i % 2 else -1) * long * 0.27
        at = (i + 0.5) * pitch
        center = (height / 2 + off, at) if across else (at, width / 2 + off)
        item = lay(image, stamp, center, "tooth")
        if item is not None:
            items.append(item)
    return Surface(image, items=tuple(items))


def honeycomb(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Six-sided cells with thin walls, open or filled."""
    unit = min(height, width)
    v, u = turned(height, width, turn(rng))
    period = np.float32(rng.uniform(0.08, 0.22))
    rows, columns = v / period, u / (period * np.float32(math.sqrt(3)))
    near = np.full((height, width), 9, np.float32)
    for shift in (0.0, 0.5):  # the centers are two lattices shifted by half a cell
        b, a = (rows + shift) % 1 - 0.5, ((columns + shift) % 1 - 0.5) * np.float32(math.sqrt(3))
        hexagon = np.maximum(np.abs(b), np.abs(b) * 0.5 + np.abs(a) * np.float32(0.866))
        near = np.minimum(near, hexagon.astype(np.float32))
    wall = np.float32(rng.uniform(0.04, 0.1))
    edge = 0.8 / (unit * float(period))
    cover = smoothstep(0.5 - wall - edge, 0.5 - wall + edge, near)
    light = 1 + 0.05 * smooth(rng, height, width, unit * 0.2)
    deep = shade(gray(rng, 0.05, 0.5, 0.08), (0.6 + 0.9 * near).astype(np.float32))
    paint = gray(rng, 0.5, 0.95) if rng.random() < 0.5 else color(rng, value=(0.4, 0.95))
    return Surface(mix(deep, shade(paint, light), cover))
