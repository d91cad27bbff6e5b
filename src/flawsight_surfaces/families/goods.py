"""Packages and moulded goods."""

import math
from dataclasses import replace

import numpy as np

from ..drawing import hardware, lettering, shapes
from ..drawing.draw import Draw
from ..drawing.fields import away, bell, brighten, bulge, lit, mix, near, shade, smoothstep
from ..drawing.stamps import corners, lay, lay_all
from ..drawing.surface import Item, Stamp, Surface
from .backdrop import backdrop, out_of_focus, place


def carton(draw: Draw) -> Surface:
    """A printed box front: fields of color, a title, text and a bar code."""
    back = backdrop(draw)
    y, x = draw.axes()
    tall, wide = draw.tall * draw.uniform(0.75, 0.95), draw.wide * draw.uniform(0.7, 0.95)
    paper = draw.color(saturation=(0, 0.8), value=(0.4, 1))
    body = shade(paper, 1 + 0.02 * draw.smooth(draw.unit * 0.3))
    soft = 2 / draw.unit
    for _ in range(draw.integers(1, 4)):
        paint = draw.color(saturation=(0.2, 1), value=(0.2, 1))
        low = np.float32(draw.uniform(-0.5, 0.4) * tall)
        v = y + np.float32(draw.choice([0.0, 0.0, 0.3, -0.3])) * x
        stripe = smoothstep(low, low + soft, v)
        stripe = stripe * smoothstep(soft, 0, v - low - draw.uniform(0.05, 0.4))
        body = mix(body, paint, stripe)
    title = lettering.text(draw.unit * draw.uniform(0.08, 0.14), lettering.words(draw))
    marks = [
        hardware.printed(title, hardware.ink(draw, paper)),
        hardware.label(draw, draw.unit * draw.uniform(0.12, 0.2), paper),
        hardware.logo(draw, draw.unit * draw.uniform(0.12, 0.25), paper),
        hardware.text(draw, draw.unit * 0.12, paper),
    ]
    rows: list[float] = []
    for stamp in marks[: int(draw.integers(2, 5))]:
        for _ in range(8):
            row, column = (
                draw.height * draw.uniform(0.2, 0.8),
                draw.width * draw.uniform(0.25, 0.75),
            )
            if all(abs(row - other) > 0.22 * draw.unit for other in rows):
                rows.append(row)
                lay(body, stamp, (row, column), "print")
                break
    return place(draw, back, body, shapes.box(y, x, tall, wide, 0.01), 0.03)


def bottle(draw: Draw) -> Surface:
    """A bottle or jar from the side, with a cap and a label round it."""
    back = backdrop(draw)
    long = 0.48 * draw.tall
    y, x = draw.axes()
    half, neck = draw.uniform(0.16, 0.3), draw.uniform(0.06, 0.15)
    neck, shoulder = min(neck, 0.8 * half), np.float32(draw.uniform(-0.55, -0.25) * long)
    outline = half + (neck - half) * smoothstep(shoulder + 0.08, shoulder - 0.08, y)
    distance = np.maximum(np.abs(x) - outline, np.abs(y) - long * 0.95)
    t = x / outline
    glint = bell(t - draw.uniform(-0.6, 0.6), 0.12)
    light = 0.5 + 0.55 * bulge(t) + draw.uniform(0, 0.5) * glint
    body = shade(draw.color(saturation=(0.0, 0.9), value=(0.15, 0.95)), light)
    top = np.float32(-0.95 * long + draw.uniform(0.06, 0.12))
    ribs = 1 + 0.12 * np.sin(np.arcsin(np.clip(t, -1, 1)) * 40)
    cap = shade(draw.color(value=(0.2, 0.95)), light * ribs)
    body = mix(body, cap, smoothstep(top + draw.pixel, top - draw.pixel, y))
    low = np.float32(draw.uniform(-0.05, 0.1) * long)
    high = np.float32(draw.uniform(0.5, 0.8) * long)
    paper = draw.color(saturation=(0, 0.6), value=(0.6, 1))
    label = np.broadcast_to(paper, (*draw.shape, 3)).copy()
    center = (draw.height / 2 + float(low + high) / 2 * draw.unit, draw.width / 2)
    lay(label, hardware.text(draw, draw.unit * draw.uniform(0.1, 0.16), paper), center, "text")
    around = smoothstep(low, low + draw.pixel, y) * smoothstep(high, high - draw.pixel, y)
    body = mix(body, shade(label, 0.55 + 0.5 * bulge(t)), around)
    return place(draw, back, np.clip(body, 0, 1), distance)


def block(draw: Draw) -> Surface:
    """A plain box of one color, one to three faces in view, held or lying somewhere."""
    back = backdrop(draw)
    v, u = draw.shifted(draw.turned(draw.normal(0, 0.08)), 0.15)
    tall, wide = draw.uniform(0.25, 0.6), draw.uniform(0.25, 0.6)
    if draw.chance(0.5):
        tall = wide
    lean, rise = draw.uniform(-0.12, 0.12), draw.uniform(0, 0.15)
    corner = float(draw.choice([0.0, 0.012, 0.03]))
    front = shapes.box(v, u, tall, wide, corner)
    # The top and a side are the front moved back along the line of sight.
    swept = front
    for step in np.linspace(0, 1, 9, dtype=np.float32)[1:]:
        swept = np.minimum(swept, shapes.box(v + rise * step, u - lean * step, tall, wide, corner))
    paint = draw.color(saturation=(0.0, 1.0), value=(0.35, 0.98))
    if draw.chance(0.15):
        paint = draw.gray(0.1, 0.9)
    on_top = (v < -tall / 2 + 0.002).astype(np.float32)
    sides = draw.uniform(0.5, 1.15, 2).astype(np.float32)
    light = sides[0] * on_top + sides[1] * 0.8 * (1 - on_top)
    face = smoothstep(draw.pixel, -draw.pixel, front)
    light = light + (1 - light) * face + draw.uniform(-0.15, 0.15) * v
    light = light + draw.uniform(0, 0.03) * draw.fractal(draw.unit * 0.1, 3)
    return place(draw, back, np.clip(shade(paint, light), 0, 1), swept, 0.03)


def housing(draw: Draw) -> Surface:
    """A moulded case with ribs, windows, screw bosses and an engraved mark."""
    back = backdrop(draw)
    v, u = draw.turned(draw.normal(0, 0.05))
    tall, wide = draw.tall * draw.uniform(0.65, 0.9), draw.wide * draw.uniform(0.65, 0.9)
    distance = shapes.box(v, u, tall, wide, draw.uniform(0.02, 0.15))
    paint = draw.gray(0.05, 0.95) if draw.chance(0.55) else draw.color(value=(0.2, 0.95))
    grain = draw.smooth(max(1.5, draw.unit / 100))
    light = 1 + (lit(grain, 0.7, draw.uniform(0, 0.05)) + 0.04 * draw.smooth(draw.unit * 0.5))
    step = np.abs(distance + draw.uniform(0.03, 0.08))
    light -= draw.uniform(0.1, 0.35) * smoothstep(0.012, 0.003, step)
    if draw.chance(0.5):  # vents
        pitch, reach = draw.uniform(0.03, 0.06), draw.uniform(0.08, 0.2)
        cy, cx = draw.uniform(-0.2, 0.2, 2)
        inside = np.maximum(np.abs(v - cy) - reach, np.abs(u - cx) - reach * 1.4) < 0
        light = light * np.where(inside & ((v / pitch) % 1 < 0.45), 0.3, np.float32(1))
    surface = place(draw, back, np.clip(shade(paint, light), 0, 1), distance, 0.03)
    fastener = hardware.boss if draw.chance(0.5) else hardware.screw
    stamp = fastener(draw, draw.unit * draw.uniform(0.07, 0.12), paint)
    centers = corners(draw, (tall / 2 - 0.12) * draw.unit, (wide / 2 - 0.12) * draw.unit)
    return replace(surface, items=lay_all(surface.image, stamp, centers, "screw boss"))


def lens(draw: Draw) -> Surface:
    """A round glass or lamp cover: a clear dome with rings and reflections."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, 6.3))
    size = draw.uniform(0.32, 0.46)
    v, u, r = v / size, u / size, np.hypot(v, u) / size
    tint = draw.color(saturation=(0, 0.5), value=(0.5, 1))
    body = mix(back, tint, draw.uniform(0.2, 0.7))
    light = 1 - 0.3 * r * r
    if draw.chance(0.5):  # optics: rings or facets
        light = light + 0.12 * np.sin(r * draw.uniform(15, 50))
    body = shade(body, light - 0.4 * near(r - 0.96, 0.06))
    for _ in range(draw.integers(1, 4)):
        angle, at = draw.uniform(0, 6.3), draw.uniform(0.2, 0.7)
        glint = away(v, u, (math.sin(angle), math.cos(angle)), at)
        shine = smoothstep(draw.uniform(0.08, 0.25), 0.02, glint) * draw.uniform(0.2, 0.7)
        body = brighten(body, shine)
    return place(draw, back, np.clip(body, 0, 1), (r - 1) * size)


def held_block(draw: Draw) -> Surface:
    """A plain block of one strong color, held from above by an arm before blurred machines."""
    back = out_of_focus(draw).copy()
    v, u = draw.shifted(draw.turned(draw.normal(0, 0.05)), 0.12)
    size, lean, rise = draw.uniform(0.2, 0.5), draw.uniform(-0.15, 0.15), draw.uniform(-0.05, 0.1)
    tall = size * draw.uniform(0.8, 1.25)
    dark = draw.gray(0.02, 0.25)
    at = 0.0
    for step in range(3):  # the arm: a cup, a rod, a bracket
        at -= draw.uniform(0.04, 0.15)
        wide = draw.uniform(0.03, 0.08) * (1 if step < 2 else 3)
        arm = np.maximum(np.abs(u) - wide, np.abs(v - at + tall / 2) - 0.1)
        tone = dark if draw.chance(0.7) else draw.gray(0.4, 0.8)
        back = mix(back, shade(tone, 1 - 0.5 * np.abs(u / wide)), shapes.solid(arm, draw.unit))
    front = shapes.box(v, u, tall, size, 0.008)
    swept = front
    for move in np.linspace(0, 1, 7, dtype=np.float32)[1:]:
        moved = shapes.box(v + rise * move, u - lean * move, tall, size, 0.008)
        swept = np.minimum(swept, moved)
    light = np.where(front < 0, np.float32(1), np.float32(draw.uniform(0.5, 0.95)))
    light = light + draw.uniform(-0.2, 0.2) * v + 0.02 * draw.smooth(draw.unit * 0.02)
    paint = draw.color(saturation=(0.5, 1.0), value=(0.4, 1.0))
    return place(draw, np.clip(back, 0, 1), np.clip(shade(paint, light), 0, 1), swept)


def brush(draw: Draw) -> Surface:
    """A brush from the front: tufts of bristles in rows on a plastic head."""
    back = backdrop(draw)
    y, x = draw.axes()
    pitch = draw.uniform(0.09, 0.16)
    rows, columns = int(draw.integers(2, 6)), int(draw.integers(3, 6))
    tall, wide = (rows + 0.6) * pitch, (columns + 0.6) * pitch
    tall, wide = min(tall, 0.92 * draw.tall), min(wide, 0.92 * draw.wide)
    distance = shapes.box(y, x, tall, wide, 0.4 * pitch)
    plastic = draw.color(saturation=(0, 0.9), value=(0.3, 1))
    surface = place(draw, back, shade(plastic, 1 + 0.03 * draw.smooth(draw.unit * 0.1)), distance)
    paints = [draw.color(saturation=(0, 0.9), value=(0.4, 1)) for _ in range(3)]
    size = pitch * draw.unit * draw.uniform(0.75, 0.98)
    ty, _, r = shapes.round_sheet(size)
    items: list[Item] = []
    for row, column in np.ndindex(rows, columns):
        fibres = draw.sized(*ty.shape).smooth(max(1.0, size / 14))
        light = 0.75 + 0.3 * fibres - 0.3 * r * r
        body = np.clip(shade(paints[column % 3], light), 0, 1)
        stamp = Stamp(shapes.solid((r - 1 + 0.06 * fibres) * size / 2), body)
        center = (
            draw.height / 2 + (row - (rows - 1) / 2) * pitch * draw.unit,
            draw.width / 2 + (column - (columns - 1) / 2) * pitch * draw.unit,
        )
        item = lay(surface.image, stamp, center, "tuft", column % 3)
        items += [item] if item else []
    return replace(surface, items=tuple(items), countable=len(items) <= 12)
