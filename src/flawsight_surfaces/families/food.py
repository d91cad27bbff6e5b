"""Baked, moulded and grown things to eat."""

import math

import numpy as np

from ..drawing import shapes
from ..drawing.draw import Draw
from ..drawing.fields import along, away, brighten, bulge, lit, mix, shade, smoothstep
from ..drawing.stamps import arranged, gather, turned
from ..drawing.surface import Field, Stamp, Surface
from .backdrop import backdrop, place


def _dough(draw: Draw) -> Field:
    return draw.color((0.05, 0.12), (0.3, 0.7), (0.45, 0.92))


def biscuit(draw: Draw) -> Surface:
    """Baked dough: an uneven outline, a cracked and bumpy top, bits in it."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, 2 * math.pi))
    size, square = draw.uniform(0.28, 0.43), draw.chance(0.3)
    wobble = draw.smooth(draw.unit * 0.25) * draw.uniform(0.004, 0.02)
    r = shapes.box(v, u, 1.5 * size, 1.5 * size, 0.3 * size) + size if square else np.hypot(v, u)
    distance = r - size + wobble + 0.004 * draw.fractal(draw.unit * 0.05, 2)
    relief = draw.fractal(draw.unit * draw.uniform(0.05, 0.15), 4, 0.75)
    light = 1 + lit(relief, draw.uniform(0, 6.3), draw.uniform(0.15, 0.5) * draw.unit / 192)
    light += 0.06 * draw.fractal(draw.unit * 0.02, 2)
    furrow = smoothstep(0.12, 0.02, np.abs(relief - draw.uniform(-0.5, 0.5)))
    light -= draw.uniform(0, 0.35) * furrow
    light -= draw.uniform(0.1, 0.4) * smoothstep(-0.1, 0.0, distance)
    body = shade(_dough(draw), light)
    if draw.chance(0.7):  # chocolate, raisins, nuts
        gap, _, value = draw.cells(draw.unit * draw.uniform(0.07, 0.14), 0.9)
        bits = smoothstep(0.36, 0.28, gap + 0.1 * relief) * (value < draw.uniform(0.15, 0.6))
        dark = draw.color((0.03, 0.09), (0.4, 0.7), (0.1, 0.35))
        body = mix(body, shade(dark, np.clip(light, 0.5, 1.5)), bits)
    return place(draw, back, np.clip(body, 0, 1), distance)


def cracker(draw: Draw) -> Surface:
    """A flat baked square or round with docker holes in rows and toothed edges."""
    back = backdrop(draw)
    v, u = draw.turned(draw.normal(0, 0.15))
    size, round_ = draw.uniform(0.6, 0.84), draw.chance(0.3)
    outline = shapes.disc(v, u, size / 2) if round_ else shapes.box(v, u, size, size, 0.06)
    distance = outline + 0.008 * np.sin(60 * u) * np.sin(60 * v)
    toast = draw.fractal(draw.unit * 0.1, 4, 0.8)
    light = 1 + 0.08 * toast - 0.25 * smoothstep(-0.07, 0.0, distance)
    holes = int(draw.integers(3, 6))
    pitch = size * 0.85 / holes
    r = np.hypot((u / pitch + holes / 2) % 1 - 0.5, (v / pitch + holes / 2) % 1 - 0.5)
    light -= 0.5 * smoothstep(0.09, 0.05, r) * (distance < -0.04)
    body = shade(_dough(draw), light + 0.1 * smoothstep(0.35, 0.1, r))
    return place(draw, back, np.clip(body, 0, 1), distance)


def chocolate_bar(draw: Draw) -> Surface:
    """Moulded pieces in rows with sloping flanks, at times with a mark on each."""
    v, u = draw.turned(draw.axis(0.04))
    period, aspect = draw.uniform(0.18, 0.45), np.float32(draw.uniform(0.8, 1.8))
    b = (v / period + draw.random()) % 1 - 0.5
    a = (u / (period * aspect) + draw.random()) % 1 - 0.5
    slope = 0.47 - np.float32(draw.uniform(0.1, 0.2))
    top = smoothstep(0.47, slope, np.abs(b)) * smoothstep(0.47, slope, np.abs(a))
    light = 0.85 + lit(top * (draw.unit * 0.05), draw.uniform(0, 6.3), 0.15) + 0.25 * top
    if draw.chance(0.5):
        ring = np.abs(np.hypot(b, a * aspect) - draw.uniform(0.12, 0.25))
        light = light - 0.18 * smoothstep(0.06, 0.02, ring)
    light += 0.03 * draw.smooth(draw.unit * 0.05)
    return Surface(shade(draw.color((0.03, 0.09), (0.3, 0.75), (0.2, 0.95)), light))


def fruit(draw: Draw) -> Surface:
    """A round fruit with a skin of dots and blushes, and its stalk."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, 2 * math.pi))
    size, ratio = draw.uniform(0.28, 0.42), draw.uniform(0.75, 1.1)
    r = np.hypot(v / ratio, u)
    distance = r - size + draw.smooth(draw.unit * 0.5) * 0.01
    first = draw.color((0.0, 0.35), (0.5, 0.95), (0.45, 0.95))
    second = draw.color((-0.05, 0.3), (0.5, 0.95), (0.4, 0.95))
    blush = smoothstep(-1, 1.2, draw.smooth(draw.unit * 0.4)) * draw.uniform(0, 1)
    dots = smoothstep(1.5, 2.2, draw.smooth(draw.unit * draw.uniform(0.012, 0.03)))
    pale = np.clip(first * 1.3, 0, 1)
    body = mix(mix(first, second, blush), pale, dots * draw.uniform(0, 0.6))
    angle = draw.uniform(0, 6.3)
    lamp = (math.sin(angle), math.cos(angle))
    light = 1.05 - 0.5 * (r / size) ** 2 + 0.3 * (along(v, u, lamp) / size)
    v, u = v / size, u / size
    shine = smoothstep(0.3, 0.0, away(v, u, lamp, 0.4))
    body = brighten(shade(body, light), shine * draw.uniform(0, 0.5))
    if draw.chance(0.6):
        stalk = smoothstep(0.14, 0.07, np.hypot(v + 0.05, (u - 0.1) * 1.2))
        body = mix(body, draw.color((0.06, 0.2), (0.3, 0.6), (0.15, 0.4)), stalk)
    return place(draw, back, np.clip(body, 0, 1), distance, 0.03)


def toast(draw: Draw) -> Surface:
    """A slice of bread: a brown crust round a pale crumb full of holes."""
    back = backdrop(draw)
    v, u = draw.turned(draw.normal(0, 0.2))
    tall, wide = draw.uniform(0.55, 0.8), draw.uniform(0.5, 0.8)
    wobble = 0.012 * draw.smooth(draw.unit * 0.2)
    distance = shapes.box(v, u, tall, wide, draw.uniform(0.06, 0.2)) + wobble
    pores = smoothstep(0.8, 1.8, draw.fractal(draw.unit * draw.uniform(0.02, 0.05), 3, 0.8))
    light = 1 - draw.uniform(0.1, 0.35) * pores + 0.06 * draw.fractal(draw.unit * 0.2, 3)
    crumb = draw.color((0.07, 0.13), (0.15, 0.5), (0.6, 0.95))
    crust = draw.color((0.04, 0.09), (0.5, 0.8), (0.3, 0.65))
    body = mix(crumb, crust, smoothstep(-0.05, -0.01, distance))
    roast = smoothstep(-0.5, 1.5, draw.fractal(draw.unit * 0.3, 3)) * draw.uniform(0, 0.7)
    body = shade(mix(body, crust, roast), light)
    return place(draw, back, np.clip(body, 0, 1), distance)


def kernel(draw: Draw) -> Surface:
    """A shelled nut or bean: smooth and pale to brown, with faint lines from end to end."""
    back = backdrop(draw)
    if draw.chance(0.5):  # a sheet of strongly colored paper
        paper = draw.color(saturation=(0.4, 1), value=(0.3, 1))
        back = shade(paper, 1 + 0.02 * draw.smooth(draw.unit * 0.3))
    v, u = draw.turned(draw.uniform(0, 2 * math.pi))
    size, ratio, bend = draw.uniform(0.2, 0.38), draw.uniform(0.5, 0.95), draw.uniform(0, 0.3)
    waist = draw.uniform(0, 0.3) * np.exp(-((u / (0.4 * size)) ** 2)) * draw.chance(0.4)
    v = v + bend * (u * u / size - 0.5 * size)
    r = np.hypot(v / (ratio * (1 - waist)), u) + 0.012 * draw.smooth(draw.unit * 0.2)
    skin = draw.color((0.03, 0.13), (0.15, 0.75), (0.35, 0.95))
    lines = draw.streaks(draw.unit * 0.5, draw.unit / 40, 0.0)
    lines = lines * draw.uniform(0, 0.08) + 0.04 * draw.fractal(draw.unit * 0.1, 3)
    lamp = draw.way()
    light = 1.05 - 0.35 * (r / size) ** 2 + 0.25 * along(v, u, lamp) / size + lines
    body = shade(skin, light)
    shine = smoothstep(0.4, 0.0, away(v / size, u / size, lamp, 0.4))
    body = brighten(body, shine * draw.uniform(0, 0.35))
    pale = draw.color((0.08, 0.13), (0.1, 0.35), (0.75, 0.98))
    worn = smoothstep(0.3, 1.5, draw.fractal(draw.unit * 0.2, 3)) * draw.uniform(0, 0.5)
    return place(draw, back, np.clip(mix(body, pale, worn), 0, 1), r - size, 0.01)


def egg(draw: Draw) -> Surface:
    """An egg, plain or speckled."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, 2 * math.pi))
    size, ratio = draw.uniform(0.28, 0.4), draw.uniform(0.7, 0.85)
    r = np.hypot(v / (ratio * (1 - 0.25 * u / size)), u)
    shell = draw.color((0.04, 0.12), (0.0, 0.5), (0.6, 1.0))
    grain = draw.smooth(draw.unit / 100)
    lamp = draw.way()
    light = 1.05 - 0.4 * (r / size) ** 2 + 0.25 * along(v, u, lamp) / size + 0.015 * grain
    body = shade(shell, light)
    freckles = smoothstep(1.2, 1.9, draw.smooth(draw.unit * draw.uniform(0.01, 0.03)))
    brown = draw.color((0.02, 0.1), (0.3, 0.7), (0.2, 0.5))
    body = mix(body, brown, freckles * np.float32(draw.choice([0.0, 0.0, 0.4, 0.8])))
    return place(draw, back, np.clip(body, 0, 1), r - size, 0.02)


def snacks(draw: Draw) -> Surface:
    """Puffs, rings, bent tubes and short noodles, all of one kind."""
    centers, pitch = arranged(draw, (0.2, 0.6))
    dough = draw.color((0.03, 0.15), (0.3, 0.85), (0.45, 0.98))
    turn, wide = draw.uniform(0.8, 3.3), draw.uniform(0.12, 0.28)
    ridges, rough = draw.choice([0, 0, 8, 14]), draw.uniform(0, 0.15)

    def snack() -> Stamp:
        size = pitch * draw.uniform(0.75, 0.9)
        y, x = shapes.sheet(size, size, 3)
        phi, r = np.arctan2(y, x), np.hypot(y, x) / (size / 2)
        middle, open_ = 1 - wide, np.abs(phi) - turn
        across = np.hypot(r - middle, np.maximum(open_, 0) * r) / wide
        piece = draw.sized(*y.shape)
        bumps = piece.fractal(max(2.0, size * 0.12), 3)
        light = 0.5 + 0.6 * bulge(across) + 0.15 * along(y, x, draw.way()) / size + rough * bumps
        if ridges:
            light = light + 0.12 * np.sin((r - middle) / wide * ridges)
        distance = (across - 1 + 0.3 * rough * bumps) * wide * size / 2
        tint = dough * draw.uniform(0.9, 1.1, 3).astype(np.float32)
        shadow = 0.4 * shapes.solid(distance - 1.5, 0.3)
        return turned(draw, Stamp(shapes.solid(distance), shade(tint, light), shadow))

    kinds = [snack() for _ in range(4)]
    return gather(backdrop(draw), centers, lambda: kinds[draw.integers(4)], "snack")
