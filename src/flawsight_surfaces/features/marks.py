"""Benign features that run over a surface or lie softly on it: seams, ridges, shadows, soiling …

Each returns the image (H, W, 3) with the feature, and where it is, (H, W) in [0, 1].
"""

import math

import numpy as np

from ..drawing.draw import Draw
from ..drawing.fields import band, bell, brighten, bulge, lit, mix, shade, smoothstep
from ..drawing.surface import Field, Surface

Drawn = tuple[Field, Field]


def _across(draw: Draw) -> tuple[Field, Field, float]:
    """(v, u, pixel) of a straight line over the whole image, mostly along an axis.

    v: units from the line, u: units along it; pixel: the size of one in units.
    """
    angle = draw.axis()
    if draw.chance(0.3):
        angle += draw.uniform(-0.5, 0.5)
    v, u = draw.turned(angle)
    reach = float(np.abs(v[:, 0]).max() if angle < 1 else np.abs(v[0]).max())
    return v - (draw.uniform(-0.42, 0.42) * 2 * reach), u, draw.pixel


def _contrasting(draw: Draw, surface: Surface, step: float = 0.25) -> Field:
    """A color (3,) that differs from the surface's mean."""
    mean = surface.image.mean(axis=(0, 1))
    for _ in range(6):
        paint = draw.gray(0.05, 0.95) if draw.chance(0.5) else draw.color(value=(0.1, 1))
        if float(np.abs(paint - mean).max()) > step:
            break
    return paint


def seam(draw: Draw, surface: Surface) -> Drawn:
    """A joint of two sheets over the whole surface, at times with stitches beside it."""
    v, u, pixel = _across(draw)
    wide = draw.uniform(1.2, 3.0) * pixel
    where = smoothstep(wide, wide * 0.4, np.abs(v))
    lip = smoothstep(1.2 * wide, 0.4 * wide, np.abs(v - (1.6 * wide)))
    step = 1 + np.float32(draw.uniform(-0.08, 0.08)) * (v > 0)  # the two sides differ a little
    image = shade(surface.image, step - 0.6 * where + 0.25 * lip)
    if draw.chance(0.4):
        period, off = draw.uniform(0.03, 0.07), draw.uniform(0.02, 0.05)
        dash = smoothstep(0.32, 0.28, np.abs((u / period) % 1 - 0.5))
        stitch = dash * smoothstep(1.8 * pixel, 0.8 * pixel, np.abs(np.abs(v) - off))
        image = mix(image, _contrasting(draw, surface), stitch)
        where = np.maximum(where, stitch)
    return image, where


def weld_bead(draw: Draw, surface: Surface) -> Drawn:
    """A straight bead of evenly overlapping ripples."""
    v, u, pixel = _across(draw)
    half = np.float32(draw.uniform(0.02, 0.05))
    bend, where = bulge(v / half), band(v, half, pixel)
    ripple = np.sin((u + 0.6 * half * bend) * (2 * math.pi / draw.uniform(0.012, 0.035)))
    light = 0.6 + 0.45 * bend + 0.14 * ripple - 0.25 * v / half
    metal = draw.gray(0.4, 0.8) if draw.chance(0.6) else surface.image.mean(axis=(0, 1))
    heat = smoothstep(4 * half, half, np.abs(v)) * draw.uniform(0, 0.25)
    tinted = mix(surface.image, np.array([0.3, 0.25, 0.3], np.float32), heat)
    return mix(tinted, shade(metal, light), where), where


def ridge(draw: Draw, surface: Surface) -> Drawn:
    """A straight rib or groove, one flank light and one dark."""
    v, _, pixel = _across(draw)
    half = np.float32(draw.uniform(0.008, 0.04))
    where = band(v, half, pixel)
    slope = np.clip(v / half, -1, 1) * where * draw.sign()
    if draw.chance(0.5):  # flat on top
        slope *= np.abs(v) > 0.5 * half
    return shade(surface.image, 1 + draw.uniform(0.2, 0.45) * slope), where


def stripe(draw: Draw, surface: Surface) -> Drawn:
    """A painted band or two with sharp edges."""
    v, _, pixel = _across(draw)
    half = np.float32(draw.uniform(0.01, 0.08))
    if draw.chance(0.3):
        v = np.abs(v) - 2 * half
    where = band(v, half, pixel)
    return mix(surface.image, _contrasting(draw, surface), where * 0.9), where


def scale_marks(draw: Draw, surface: Surface) -> Drawn:
    """Evenly spaced ticks along a line, every fifth longer."""
    v, u, pixel = _across(draw)
    pitch, long = draw.uniform(0.025, 0.05), draw.uniform(0.03, 0.06)
    number = np.floor(u / pitch)
    reach = np.where(number % 5 == 0, 1.6 * long, long)
    tick = np.abs(u / pitch - number - 0.5) * pitch < 1.1 * pixel
    where = (tick & (v > 0) & (v < reach)).astype(np.float32)
    return mix(surface.image, _contrasting(draw, surface, 0.4), where), where


def machining_lines(draw: Draw, surface: Surface) -> Drawn:
    """Faint straight lines from edge to edge, evenly spaced."""
    v, _, pixel = _across(draw)
    pitch = draw.uniform(0.03, 0.15)
    where = smoothstep(1.5 * pixel, 0.5 * pixel, np.abs((v / pitch) % 1 - 0.5) * pitch)
    gain = 1 + np.float32(draw.uniform(0.08, 0.25) * draw.choice([-1, 1])) * where
    return shade(surface.image, gain), where


def tool_marks(draw: Draw, surface: Surface) -> Drawn:
    """Regular arcs or lines of a cutter over a wide zone."""
    v, u, _ = _across(draw)
    bend = draw.uniform(0, 0.6) if draw.chance(0.6) else 0.0
    phase = (u + bend * v * v * 4) * (2 * math.pi / draw.uniform(0.015, 0.06))
    zone = smoothstep(0.5, 0.45, np.abs(v) * draw.uniform(0.6, 1.5))
    wear = 1 + 0.3 * draw.smooth(draw.unit * 0.3)
    wave = np.sin(phase) * zone * wear
    return shade(surface.image, 1 + draw.uniform(0.03, 0.09) * wave), zone


def edge(draw: Draw, surface: Surface) -> Drawn:
    """A worn or bevelled strip along one side of the image, lighter or darker."""
    y, x = draw.axes()
    side = (y - y[0, 0], y[-1, 0] - y, x - x[0, 0], x[0, -1] - x)[draw.integers(4)]
    wide = draw.uniform(0.02, 0.12)
    where = smoothstep(wide + 0.006, wide - 0.006, side)
    gain = float(draw.uniform(0.35, 0.8) if draw.chance(0.5) else draw.uniform(1.2, 1.7))
    return shade(surface.image, 1 + (gain - 1) * where), where


def thread_run(draw: Draw, surface: Surface) -> Drawn:
    """Some threads of another color that run through the whole cloth."""
    v, u, pixel = _across(draw)
    half = draw.uniform(1.0, 3.0) * pixel
    where = smoothstep(half + pixel, half, np.abs(v))
    beat = 0.75 + 0.25 * np.sin(u * (2 * math.pi / draw.uniform(0.02, 0.05)))
    return mix(surface.image, shade(_contrasting(draw, surface), beat), where * 0.8), where


def dust(draw: Draw, surface: Surface) -> Drawn:
    """A few faint specks spread over everything."""
    where = np.zeros(draw.shape, np.float32)
    count = int(draw.integers(6, 40))
    rows, columns = (draw.integers(side - 1, size=count) for side in draw.shape)
    where[rows, columns] = draw.uniform(0.4, 1.0, count)
    where[rows + 1, columns] = draw.uniform(0, 0.6, count)
    pale = np.full(3, float(draw.choice([0.1, 0.85, 0.95])), np.float32)
    return mix(surface.image, pale, where * draw.uniform(0.15, 0.3)), where


def crumbs(draw: Draw, surface: Surface) -> Drawn:
    """Bits of what lies there that have fallen on the table beside it."""
    where = np.zeros(draw.shape, np.float32)
    if surface.region is None or not (surface.region < 0.02).any():
        return surface.image, where
    y, x = draw.axes()
    for _ in range(draw.integers(3, 16)):
        size = draw.uniform(0.004, 0.014)
        row, column = draw.uniform(-0.5, 0.5, 2) * (draw.tall, draw.wide)
        top, left = (int((c + s / 2 - 2 * size) * draw.unit) for c, s in
                     ((row, draw.tall), (column, draw.wide)))  # fmt: skip
        span = int(4 * size * draw.unit) + 3
        box = np.s_[max(0, top) : max(0, top + span), max(0, left) : max(0, left + span)]
        across = (x[box] - np.float32(column)) * draw.uniform(0.6, 1.6)
        r = np.hypot(y[box] - np.float32(row), across)
        where[box] = np.maximum(where[box], smoothstep(size + draw.pixel, size - draw.pixel, r))
    where *= surface.region < 0.02
    inside = surface.image[surface.region > 0.9]
    paint = inside.mean(axis=0) if len(inside) else draw.gray(0.2, 0.8)
    return mix(surface.image, paint * np.float32(draw.uniform(0.7, 1.1)), where), where


def soiling(draw: Draw, surface: Surface) -> Drawn:
    """Clouds of grime or oil without an edge, often drawn out along an axis."""
    cloud = draw.fractal(draw.unit * draw.uniform(0.2, 0.6), 3)
    if draw.chance(0.5):
        angle = draw.axis()
        drawn_out = draw.streaks(draw.unit * 0.9, draw.unit * draw.uniform(0.03, 0.15), angle)
        cloud = 0.5 * cloud + 0.7 * drawn_out
    where = smoothstep(-0.3, 1.8, cloud)
    tint = draw.color((0.03, 0.12), (0.0, 0.7), (0.1, 0.5))
    return mix(surface.image, tint, where * draw.uniform(0.1, 0.4)), where


def watermark(draw: Draw, surface: Surface) -> Drawn:
    """Very faint broad rings of dried water."""
    field = draw.smooth(draw.unit * draw.uniform(0.3, 0.6))
    ring = bell(field - draw.uniform(-0.5, 0.5), 0.12)
    return shade(surface.image, 1 + draw.uniform(-0.07, 0.07) * ring), ring


def highlight(draw: Draw, surface: Surface) -> Drawn:
    """A lamp or window mirrored softly."""
    y, x = draw.shifted(draw.axes(), 0.5)
    ratio, size = draw.uniform(0.4, 2.5), draw.uniform(0.06, 0.3)
    y, x = y * ratio, x / ratio
    if draw.chance(0.3):  # a window
        where = smoothstep(1.05, 0.9, np.maximum(np.abs(y), np.abs(x)) / size)
    else:
        where = smoothstep(1.3, 0.1, np.hypot(y, x) / size)
    return brighten(surface.image, where * draw.uniform(0.12, 0.5)), where


def shadow(draw: Draw, surface: Surface) -> Drawn:
    """The soft shadow of something out of view."""
    v, u = draw.turned(draw.uniform(0, 2 * math.pi))
    soft = draw.uniform(0.03, 0.2)
    where = smoothstep(-soft, soft, v - draw.uniform(0.05, 0.45))
    if draw.chance(0.4):  # a bar
        where *= smoothstep(-soft, soft, draw.uniform(0.1, 0.3) - np.abs(u))
    return shade(surface.image, 1 - draw.uniform(0.15, 0.5) * where), where


def clamp(draw: Draw, surface: Surface) -> Drawn:
    """A gripper, nozzle or stop that reaches into the image as far as the part."""
    v, u = draw.turned(float(draw.integers(4)) * math.pi / 2 + draw.normal(0, 0.06))
    v = v - draw.uniform(-0.15, 0.15)
    reach = float(u.max())
    if surface.region is not None and (surface.region > 0.5).any():
        reach = float(u[surface.region > 0.5].max()) - draw.uniform(-0.01, 0.06)
    image, where = surface.image, np.zeros(draw.shape, np.float32)
    half = draw.uniform(0.05, 0.16)
    for part in range(int(draw.integers(1, 4))):  # each part farther back is wider or narrower
        start = reach + part * draw.uniform(0.04, 0.12)
        half *= draw.uniform(0.6, 1.7)
        tone = draw.gray(0.02, 0.3) if draw.chance(0.7) else draw.gray(0.4, 0.9)
        cover = smoothstep(draw.pixel, -draw.pixel, np.maximum(np.abs(v) - half, start - u))
        image = mix(image, shade(tone, 0.6 + 0.5 * bulge(v / half)), cover)
        where = np.maximum(where, cover)
    return image, where


def knot(draw: Draw, surface: Surface) -> Drawn:
    """A sound knot: rings of the wood's own color, denser inwards."""
    y, x = draw.shifted(draw.axes(), 0.35)
    size, ratio = draw.uniform(0.04, 0.1), draw.uniform(0.6, 1.6)
    r = np.hypot(y * ratio, x / ratio) / size + 0.06 * draw.smooth(draw.unit * 0.08)
    where = smoothstep(1.25, 0.85, r)
    light = 0.62 + 0.14 * np.sin(r * draw.uniform(12, 20)) - 0.2 * smoothstep(0.5, 0, r)
    return mix(surface.image, shade(surface.image.mean(axis=(0, 1)), light), where * 0.9), where


def grain_patch(draw: Draw, surface: Surface) -> Drawn:
    """A broad change of shade, as grain, batch or polish vary."""
    field = draw.smooth(draw.unit * draw.uniform(0.4, 0.9))
    where = smoothstep(-0.6, 1.2, field)
    return shade(surface.image, 1 + draw.uniform(-0.2, 0.2) * where), where


def chamfer(draw: Draw, surface: Surface) -> Drawn:
    """A bevel that follows the outline of the part."""
    if surface.region is None:
        return edge(draw, surface)
    wide = draw.unit * draw.uniform(0.015, 0.04)
    worn = inner = surface.region > 0.5
    for _ in range(max(1, round(wide / 2))):  # erode by two pixels a step
        p = np.pad(worn, 2)
        worn = p[4:, 2:-2] & p[:-4, 2:-2] & p[2:-2, 4:] & p[2:-2, :-4]
    where = np.asarray(inner & ~worn, np.float32)
    light = lit(draw.smooth(draw.unit) * 3, draw.uniform(0, 6.3), 0.05)
    gain = np.float32(draw.uniform(0.15, 0.35) * draw.choice([-1, 1]))
    return shade(surface.image, 1 + where * (gain + light)), where
