"""Walls, floors, treads and woven or linked bands."""

import math

import numpy as np

from ..drawing import shapes
from ..drawing.draw import Draw
from ..drawing.fields import bulge, mix, shade, smoothstep
from ..drawing.stamps import lay_all
from ..drawing.surface import Stamp, Surface
from .backdrop import backdrop, place


def tyre_tread(draw: Draw) -> Surface:
    """Black rubber blocks between grooves, mirrored about the middle."""
    v, u = draw.turned(draw.axis())
    w, period, slant = np.abs(v), draw.uniform(0.1, 0.3), draw.uniform(0, 1.2)
    lane = w / draw.uniform(0.14, 0.3)
    b, a = lane % 1, ((u + slant * w) / period + 0.37 * np.floor(lane)) % 1
    across = smoothstep(0.14, 0.08, np.minimum(a, 1 - a))
    groove = np.maximum(smoothstep(0.12, 0.06, np.minimum(b, 1 - b)), across)
    sipe = smoothstep(0.05, 0.02, np.abs(a - 0.5)) * np.float32(draw.choice([0, 0.5]))
    light = 1 - 0.75 * groove - 0.4 * sipe + 0.05 * draw.smooth(draw.unit / 120)
    light += 0.1 * draw.smooth(draw.unit * 0.4)
    return Surface(shade(draw.gray(0.12, 0.4, 0.02), np.clip(light, 0.05, 2)))


def brick_wall(draw: Draw) -> Surface:
    """Rough bricks of slightly different shades in mortar."""
    v, u = draw.turned(draw.normal(0, 0.03))
    tall = draw.uniform(0.1, 0.28)
    long = tall * np.float32(draw.uniform(2, 3.2))
    row, b = np.floor(v / tall + 50), (v / tall + 50) % 1 - 0.5
    a = u / long + 50 + 0.5 * (row % 2)
    shades = draw.uniform(0.75, 1.2, 256).astype(np.float32)
    number = (row * 31 + np.floor(a) * 7).astype(np.intp) % 256
    inset = np.minimum((0.5 - np.abs(b)) * tall, (0.5 - np.abs(a % 1 - 0.5)) * long)
    inset = inset + 0.004 * draw.smooth(draw.unit * 0.04)
    rough = draw.fractal(draw.unit * 0.04, 4, 0.8)
    base = draw.color((0.0, 0.1), (0.2, 0.7), (0.35, 0.8))
    brick = shade(base, shades[number] * (1 + 0.08 * rough))
    mortar = shade(draw.gray(0.4, 0.85, 0.04), 1 + 0.06 * rough)
    joint = np.float32(draw.uniform(0.006, 0.014))
    return Surface(mix(mortar, brick, smoothstep(joint - 0.004, joint + 0.004, inset)))


def parquet(draw: Draw) -> Surface:
    """Wooden staves side by side, each of its own shade and grain."""
    angle = draw.turn()
    v, u = draw.turned(angle)
    wide, long = np.float32(draw.uniform(0.1, 0.35)), np.float32(draw.uniform(0.5, 1.5))
    row = np.floor(v / wide + 20)
    column = np.floor(u / long + 20 + 0.37 * row)
    shades = draw.uniform(0.72, 1.2, 256).astype(np.float32)
    tone = shades[(row * 17 + column * 5).astype(np.intp) % 256]
    grain = draw.streaks(draw.unit * 0.6, draw.unit / 90, -angle)
    waves = np.sin((v + 0.03 * grain + 0.02 * row) * draw.uniform(60, 140))
    light = tone * (1 + 0.07 * grain + draw.uniform(0.01, 0.06) * waves)
    side = np.abs((v / wide) % 1 - 0.5) * wide
    end = np.abs((u / long + 0.37 * row) % 1 - 0.5) * long
    joint = smoothstep(0.5 * wide - 1.5 / draw.unit, 0.5 * wide, side)
    joint = np.maximum(joint, smoothstep(0.5 * long - 1.5 / draw.unit, 0.5 * long, end))
    base = draw.color((0.04, 0.11), (0.25, 0.65), (0.4, 0.9))
    return Surface(shade(base, light * (1 - 0.5 * joint)))


def wicker(draw: Draw) -> Surface:
    """Broad bands woven over and under, as in baskets, mats and straps."""
    v, u = draw.turned(draw.turn())
    count = draw.uniform(4, 12)
    a, b = v * count + 40, u * count + 40
    over = (np.floor(a) + np.floor(b)) % 2 < 1
    across, ahead = np.where(over, a % 1, b % 1) - 0.5, np.where(over, b % 1, a % 1) - 0.5
    light = 0.55 + 0.55 * bulge(2 * across) - 0.25 * (2 * ahead) ** 2
    fibre = np.sin(across * draw.uniform(15, 40))
    light += 0.06 * fibre + 0.05 * draw.smooth(draw.unit / 90)
    first = draw.color(saturation=(0.1, 0.7), value=(0.3, 0.95))
    second = first * draw.uniform(0.7, 1.1, 3).astype(np.float32)
    second = draw.recolored(second, 0.3, value=(0.2, 0.95))
    return Surface(shade(np.where(over[..., None], first, second), light))


def rope(draw: Draw) -> Surface:
    """A laid or braided cord through the image."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, math.pi))
    half, pitch = draw.uniform(0.1, 0.3), draw.uniform(0.08, 0.25)
    slant = draw.uniform(0.5, 1.2) * (np.sign(v) if draw.chance(0.4) else 1)
    strand = np.sin(((u + slant * v) / pitch) % 1 * math.pi)
    fibre = np.sin((u * 0.4 + slant * v * 1.6) * draw.uniform(80, 160))
    light = (0.3 + 0.75 * strand) * (0.5 + 0.6 * bulge(v / half))
    light = light * (1 + 0.1 * fibre + 0.05 * draw.smooth(draw.unit / 80))
    body = shade(draw.color(saturation=(0.0, 0.9), value=(0.3, 1.0)), np.clip(light, 0, 1.6))
    distance = np.abs(v) - half * (0.94 + 0.06 * strand)
    return place(draw, back, body, distance)


def zipper(draw: Draw) -> Surface:
    """Two rows of teeth in each other between woven tapes."""
    across = draw.chance(0.5)
    v, u = draw.axes()
    tape = draw.color(saturation=(0, 0.9), value=(0.1, 0.9))
    weave = np.sin(u * 150) * np.sin(v * 150)
    image = shade(tape, 1 + 0.1 * weave + 0.04 * draw.smooth(draw.unit / 40))
    pitch = draw.unit * draw.uniform(0.05, 0.1)
    long, thick = draw.unit * draw.uniform(0.1, 0.18), pitch * draw.uniform(0.6, 0.75)
    metal = draw.gray(0.5, 0.9) if draw.chance(0.5) else draw.color(value=(0.3, 0.95))
    height, width = (long, thick) if across else (thick, long)
    y, x = shapes.sheet(height, width, 2)
    side = np.abs(x) / (x.max() or 1) if across else np.abs(y) / (y.max() or 1)
    body = np.clip(shade(metal, 1.15 - 0.5 * side * side), 0, 1)
    tooth = shapes.box(y, x, height, width, thick * 0.3)
    stamp = Stamp(shapes.solid(tooth), body, 0.3 * shapes.solid(tooth - 1, 0.5))
    run = draw.width if across else draw.height
    centers = []
    for i in range(min(100, int(run / pitch) + 1)):
        off, at = (1 if i % 2 else -1) * long * 0.27, (i + 0.5) * pitch
        centers.append((draw.height / 2 + off, at) if across else (at, draw.width / 2 + off))
    return Surface(image, items=lay_all(image, stamp, centers, "tooth"))


def honeycomb(draw: Draw) -> Surface:
    """Six-sided cells with thin walls, open or filled."""
    v, u = draw.turned(draw.turn())
    period = np.float32(draw.uniform(0.08, 0.22))
    rows, columns = v / period, u / (period * math.sqrt(3))
    center = np.full(draw.shape, 9, np.float32)
    for shift in (0.0, 0.5):  # the centers are two lattices shifted by half a cell
        b, a = (rows + shift) % 1 - 0.5, ((columns + shift) % 1 - 0.5) * math.sqrt(3)
        hexagon = np.maximum(np.abs(b), np.abs(b) * 0.5 + np.abs(a) * 0.866)
        center = np.minimum(center, hexagon)
    wall = 0.5 - np.float32(draw.uniform(0.04, 0.1))
    edge = 0.8 / (draw.unit * float(period))
    light = 1 + 0.05 * draw.smooth(draw.unit * 0.2)
    deep = shade(draw.gray(0.05, 0.5, 0.08), 0.6 + 0.9 * center)
    paint = draw.gray(0.5, 0.95) if draw.chance(0.5) else draw.color(value=(0.4, 0.95))
    return Surface(mix(deep, shade(paint, light), smoothstep(wall - edge, wall + edge, center)))
