"""Ground, milled, drawn and rolled metal, threads and welds; most fill the image."""

import math

import numpy as np

from ..drawing.hardware import hole
from ..drawing.noise import (
    axes,
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
from ..drawing.stamps import lay
from ..drawing.surface import Field, Item, Surface
from .backdrop import backdrop
from .plates import place


def _steel(rng: np.random.Generator, low: float = 0.3, high: float = 0.8) -> Field:
    """Gray, or with the tint of brass, bronze or oil (3,)."""
    if rng.random() < 0.7:
        return gray(rng, low, high)
    return color(rng, (0.06, 0.16), (0.15, 0.6), (low, high))


def ground_metal(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A ground or blasted face: fine speckle of light and dark, at times drawn out."""
    unit = min(height, width)
    light = np.ones((height, width), np.float32)
    for _ in range(rng.integers(1, 4)):
        size = rng.uniform(0.8, 5.0) * unit / 192
        long = size * (rng.uniform(1, 6) if rng.random() < 0.5 else 1)
        scale = (size, long) if rng.random() < 0.5 else (long, size)
        speckle = smooth(rng, height, width, scale)
        if rng.random() < 0.4:  # open pores, or bright facets
            speckle = np.maximum(speckle, 0) * np.float32(rng.choice([-1.5, 1.2]))
        light += np.float32(rng.uniform(0.04, 0.16)) * speckle
    light += rng.uniform(0, 0.08) * smooth(rng, height, width, unit * 0.4)
    return Surface(shade(_steel(rng), light.astype(np.float32)))


def milled_face(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Overlapping arcs of a face mill, in one or several passes."""
    v, u = turned(height, width, turn(rng))
    lane = np.float32(rng.uniform(0.25, 1.2))
    row = np.floor(v / lane + np.float32(rng.random()))
    b = (v / lane + 10) % 1 - 0.5
    radius = lane * np.float32(rng.uniform(0.52, 1.5))
    arc = np.sqrt(np.maximum(radius * radius - (b * lane) ** 2, 1e-4))
    pitch = rng.uniform(0.01, 0.045)
    phase = (u + arc * np.where(row % 2 == 0, 1, -1)) / pitch
    marks = np.sin(phase * 2 * math.pi) + 0.5 * np.sin(phase * 4.7 + row)
    jitter = smooth(rng, height, width, min(height, width) / 90)
    light = 1 + rng.uniform(0.03, 0.12) * marks + 0.04 * jitter + 0.05 * np.sin(row * 2.3)
    return Surface(shade(_steel(rng, 0.4), light.astype(np.float32)))


def streaked_block(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Pressed, sintered or drawn material: soft streaks along one axis, cloudy across."""
    unit = min(height, width)
    angle = float(rng.integers(2)) * math.pi / 2 + float(rng.normal(0, 0.02))
    light = np.ones((height, width), np.float32)
    for _ in range(3):
        thick = unit * math.exp(rng.uniform(math.log(0.006), math.log(0.15)))
        lines = streaks(rng, height, width, unit * rng.uniform(0.5, 3), thick, angle)
        light += np.float32(rng.uniform(0.03, 0.14)) * lines
    light += rng.uniform(0.02, 0.12) * fractal(rng, height, width, unit * 0.5, 5, 0.7)
    light += rng.uniform(0, 0.08) * smooth(rng, height, width, unit / 150)
    base = gray(rng, 0.08, 0.75) if rng.random() < 0.85 else color(rng, value=(0.15, 0.6))
    return Surface(shade(base, light))


def rolled_strip(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Strip from a mill: bands and scale along its run."""
    unit = min(height, width)
    angle = float(rng.integers(2)) * math.pi / 2
    bands = streaks(rng, height, width, unit * 6, unit * rng.uniform(0.02, 0.2), angle)
    fine = streaks(rng, height, width, unit * 0.6, unit / 140, angle)
    scale = fractal(rng, height, width, unit * 0.04, 4, 0.8)
    light = 1 + rng.uniform(0.05, 0.2) * bands + rng.uniform(0.02, 0.08) * fine
    light += rng.uniform(0, 0.07) * scale
    return Surface(shade(_steel(rng, 0.2), light.astype(np.float32)))


def rail(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A profile lying through the image, its faces in bands of different brightness."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    y, x = axes(height, width)
    v, u = (y, x) if rng.random() < 0.5 else (x, y)
    tilt = np.float32(rng.normal(0, 0.04))
    v = v + tilt * u
    half = float(np.abs(v).max()) * rng.uniform(0.5, 0.9)
    edges = np.sort(rng.uniform(-half, half, rng.integers(2, 7)))
    levels = rng.uniform(0.5, 1.25, len(edges) + 1).astype(np.float32)
    light = levels[np.searchsorted(edges, v)]
    for at in edges:
        light = light + np.float32(rng.uniform(-0.3, 0.3)) * smoothstep(0.012, 0, np.abs(v - at))
    lines = streaks(rng, height, width, unit, unit / 130, 0.0 if v is y else math.pi / 2)
    light = light + np.float32(rng.uniform(0.01, 0.06)) * lines
    distance = np.abs(v) - half
    body = shade(_steel(rng, 0.35), light.astype(np.float32))
    return place(rng, back, body, distance, distance - 0.03)


def _shaft(rng: np.random.Generator, height: int, width: int) -> tuple[Field, Field, float]:
    """(v, u, half): across and along a round bar, and its half width in units."""
    v, u = turned(height, width, float(rng.integers(2)) * math.pi / 2 + float(rng.normal(0, 0.03)))
    filled = rng.random() < 0.4
    half = rng.uniform(0.5, 0.9) if filled else rng.uniform(0.15, 0.42)
    if filled and height != width:
        half *= max(height, width) / min(height, width)
    return v, u, half


def _round(v: Field, half: float, rng: np.random.Generator) -> Field:
    """The light over a round bar."""
    t = np.clip(v / half, -1, 1)
    bulge = np.sqrt(1 - t * t)
    tilt = np.float32(rng.uniform(-0.4, 0.4))
    glint = np.exp(-(((t - tilt) / np.float32(rng.uniform(0.08, 0.35))) ** 2))
    result: Field = (0.25 + 0.6 * bulge + np.float32(rng.uniform(0, 0.5)) * glint).astype(
        np.float32
    )
    return result


def threaded_rod(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A bolt or rod with a fine sharp thread."""
    back = backdrop(rng, height, width)
    v, u, half = _shaft(rng, height, width)
    pitch = np.float32(rng.uniform(0.03, 0.1))
    lead = pitch * np.float32(rng.uniform(0.2, 0.6)) / half
    phase = ((u + lead * v) / pitch) % 1
    flank = np.abs(phase - 0.5) * 2
    light = _round(v, half, rng) * (0.45 + 0.75 * flank + 0.3 * np.sin(phase * 2 * math.pi))
    head = float(rng.uniform(0.2, 0.7))
    if rng.random() < 0.4:  # a plain shank or a head where the thread ends
        light = np.where(u > head, _round(v, half * 1.05, rng), light)
    distance = np.abs(v) - half + np.float32(0.25) * pitch * (1 - flank) * (u < head)
    body = shade(_steel(rng, 0.4), light.astype(np.float32))
    return place(rng, back, np.clip(body, 0, 1), distance, distance - 0.03)


def screw_shaft(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Wide round grooves that wind along a polished bar, lands between them."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    v, u, half = _shaft(rng, height, width)
    pitch = np.float32(rng.uniform(0.15, 0.5))
    lead = np.float32(rng.uniform(0.1, 0.5)) * pitch / half
    sag = np.float32(rng.uniform(-0.3, 0.3)) * pitch * (v / half) ** 2
    phase = ((u + lead * v + sag) / pitch) % 1
    share = rng.uniform(0.3, 0.75)
    groove = phase < share
    along = np.clip(phase / np.float32(share), 0, 1)
    hollow = 0.55 + np.float32(rng.uniform(0.3, 0.7)) * np.sin(along * np.float32(math.pi)) ** 2
    hollow += np.float32(rng.uniform(-0.3, 0.3)) * (along - 0.5)
    light = _round(v, half, rng) * np.where(groove, hollow, np.float32(rng.uniform(0.8, 1.2)))
    step = np.minimum(np.abs(phase - share), np.minimum(phase, 1 - phase)) * pitch
    light = light * (
        1 - np.float32(rng.uniform(0.2, 0.6)) * smoothstep(2.5 / unit, 0.5 / unit, step)
    )
    lines = np.sin((u + lead * v) * np.float32(rng.uniform(150, 400)))
    light = light * (1 + 0.04 * lines + 0.04 * smooth(rng, height, width, unit * 0.05))
    distance = np.abs(v) - half
    body = shade(_steel(rng, 0.45, 0.85), light.astype(np.float32))
    return place(rng, back, np.clip(body, 0, 1), distance, distance - 0.03)


def coil_spring(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A helical spring from the side."""
    back = backdrop(rng, height, width)
    v, u = turned(height, width, float(rng.uniform(0, math.pi)))
    half, reach = rng.uniform(0.12, 0.28), rng.uniform(0.3, 0.48)
    pitch, wire = np.float32(rng.uniform(0.06, 0.16)), rng.uniform(0.014, 0.028)
    slant = np.float32(0.25) * pitch / half
    front = np.abs(((u + slant * v) / pitch) % 1 - 0.5) * pitch - wire
    behind = np.abs(((u - slant * v) / pitch + 0.5) % 1 - 0.5) * pitch - 0.9 * wire
    ends = np.maximum(np.abs(v) - half, np.abs(u) - reach)
    first, second = np.maximum(front, ends), np.maximum(behind, ends)
    distance = np.minimum(first, second)
    bulge = np.clip(1 - ((front + wire) / wire) ** 2, 0, 1)
    light = np.where(first < 0, 0.35 + 0.7 * np.sqrt(bulge), 0.3) * (1 - 0.4 * (v / half) ** 2)
    body = shade(_steel(rng, 0.5, 0.95), light.astype(np.float32))
    return place(rng, back, body, distance, distance - 0.01)


def welded_plate(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Two plates joined by an even bead with heat tints."""
    unit = min(height, width)
    v, u = turned(height, width, float(rng.integers(2)) * math.pi / 2 + float(rng.normal(0, 0.05)))
    v = v + np.float32(rng.uniform(-0.2, 0.2))
    half = np.float32(rng.uniform(0.05, 0.14))
    base = streaks(rng, height, width, unit, unit / 120, turn(rng)) * rng.uniform(0.02, 0.08)
    image = shade(_steel(rng, 0.3, 0.7), (1 + base + 0.06 * np.sign(v)).astype(np.float32))
    for tint, reach in (((0.35, 0.3, 0.45), 3.2), ((0.5, 0.38, 0.22), 2.2)):
        heat = smoothstep(reach * half, 1.1 * half, np.abs(v)) * np.float32(rng.uniform(0, 0.5))
        image = mix(image, np.array(tint, np.float32), heat)
    bend = np.sqrt(np.clip(1 - (v / half) ** 2, 0, 1))
    ripple = np.sin((u + half * bend) * np.float32(2 * math.pi / rng.uniform(0.02, 0.06)))
    light = 0.55 + 0.5 * bend + 0.13 * ripple - 0.2 * v / half
    bead = shade(gray(rng, 0.35, 0.7), light.astype(np.float32))
    return Surface(mix(image, bead, smoothstep(half + 1 / unit, half - 1 / unit, np.abs(v))))


def bracket(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A stamped flat part with bores, slots and a bend line."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    v, u = turned(height, width, float(rng.uniform(0, 2 * math.pi)))
    long, high = rng.uniform(0.6, 0.8), rng.uniform(0.25, 0.5)
    corner = rng.uniform(0.02, 0.1)
    dv, du = np.abs(v) - high / 2 + corner, np.abs(u) - long / 2 + corner
    distance = np.hypot(np.maximum(dv, 0), np.maximum(du, 0)) - corner
    if rng.random() < 0.5:  # an L or a T
        arm = np.maximum(np.abs(u - np.float32(rng.uniform(-0.2, 0.2))) - 0.1, np.abs(v) - 0.42)
        distance = np.minimum(distance, arm)
    number = int(rng.integers(1, 5))
    for i in range(number):
        at = np.float32((i + 0.5) / number - 0.5) * np.float32(long * 0.85)
        bore = rng.uniform(0.1, 0.22) * high
        longer = rng.uniform(0, 0.08) if rng.random() < 0.4 else 0.0
        cut = np.hypot(v, np.maximum(np.abs(u - at) - longer, 0)) - bore
        distance = np.maximum(distance, -cut)
    light = 1 + rng.uniform(0.02, 0.08) * streaks(rng, height, width, unit, unit / 130, turn(rng))
    fold = np.float32(rng.uniform(-0.3, 0.3))
    light = light * np.where(u > fold, np.float32(rng.uniform(0.65, 1.15)), np.float32(1))
    light = light + np.float32(0.35) * smoothstep(0.012, 0, np.abs(distance))
    paint = _steel(rng) if rng.random() < 0.7 else color(rng, value=(0.2, 0.9))
    body = shade(paint, light.astype(np.float32))
    return place(rng, back, np.clip(body, 0, 1), distance, distance - 0.02)


def drilled_plate(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A machined face with a row, a circle or a grid of like bores."""
    unit = min(height, width)
    image = (milled_face if rng.random() < 0.4 else ground_metal)(rng, height, width).image
    image = mix(image, image.mean(axis=(0, 1)), float(rng.uniform(0.2, 0.8)))
    size = unit * rng.uniform(0.07, 0.14)
    stamp = hole(rng, size, image.mean(axis=(0, 1)))
    if rng.random() < 0.4:
        count, radius = int(rng.integers(4, 10)), unit * rng.uniform(0.25, 0.4)
        turns = np.arange(count) * (2 * math.pi / count) + rng.uniform(0, 6.3)
        centers = [
            (height / 2 + radius * math.sin(t), width / 2 + radius * math.cos(t)) for t in turns
        ]
    else:
        pitch = size * rng.uniform(1.6, 3.0)
        down, across = max(1, min(5, int(height / pitch - 0.6))), max(2, int(width / pitch - 0.6))
        down = 1 if rng.random() < 0.3 else down
        centers = [
            (height / 2 + (i - (down - 1) / 2) * pitch, width / 2 + (j - (across - 1) / 2) * pitch)
            for i in range(down)
            for j in range(across)
        ]
    items: list[Item] = []
    for center in centers[:60]:
        item = lay(image, stamp, center, "bore")
        if item is not None:
            items.append(item)
    return Surface(image, items=tuple(items), countable=len(items) <= 12)


def rough_casting(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Cast ribs and pockets with round corners and a rough skin."""
    unit = min(height, width)
    v, u = turned(height, width, turn(rng))
    period, aspect = np.float32(rng.uniform(0.3, 0.9)), np.float32(rng.uniform(0.6, 1.6))
    b = np.abs((v / period + np.float32(rng.random())) % 1 - 0.5)
    a = np.abs((u / (period * aspect) + np.float32(rng.random())) % 1 - 0.5)
    wall = rng.uniform(0.06, 0.14)
    inset = np.hypot(np.maximum(b - 0.4 + wall, 0), np.maximum(a - 0.4 + wall, 0))
    relief = smoothstep(wall * 0.6, wall * 1.4, inset.astype(np.float32)) * np.float32(unit * 0.04)
    relief += 0.6 * fractal(rng, height, width, unit * rng.uniform(0.02, 0.05), 3, 0.7)
    light = 0.85 + lit(relief, rng.uniform(0, 6.3), rng.uniform(0.08, 0.2))
    light += np.float32(rng.uniform(0.1, 0.3)) * (inset > wall)
    return Surface(shade(gray(rng, 0.25, 0.7), light.astype(np.float32)))
