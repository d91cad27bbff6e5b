"""Defects that follow a line: each takes a canvas and returns one layer."""

import math

import numpy as np

from ..drawing.canvas import Canvas, Layer
from ..drawing.fields import shade
from ..drawing.surface import Field, Floats


def _length(canvas: Canvas) -> float:
    return canvas.unit * canvas.uniform(0.3 - 0.18 * canvas.difficulty, 0.6)


def _angle(canvas: Canvas) -> float:
    return canvas.uniform(0, 2 * math.pi)


def _taper(canvas: Canvas, count: int, width: float) -> Floats:
    """(N,) widths that thin out towards the ends and vary a little between."""
    ends = np.sin(np.linspace(0.15, math.pi - 0.15, count)) ** 0.5
    return width * ends * canvas.uniform(0.8, 1.2, count)


def _opposite(canvas: Canvas, bright: float) -> Field:
    """A gray (3,) paint lighter (chance bright) or darker than the place, whichever shows."""
    luma = canvas.local_luma()
    lighter = luma < 0.25 or (luma < 0.75 and canvas.random() < bright)
    step = canvas.contrast()
    return np.full(3, luma + (1 - luma) * step if lighter else luma * (1 - step), np.float32)


def scratch(canvas: Canvas) -> Layer:
    """A thin, nearly straight line with tapering ends."""
    points = canvas.path(_length(canvas), 0.4, 0.03, _angle(canvas))
    alpha = canvas.stroke(points, _taper(canvas, len(points), canvas.line_width()))
    return Layer(alpha, _opposite(canvas, 0.6))


def scuff(canvas: Canvas) -> Layer:
    """A bundle of short parallel scratches."""
    angle, length, width = _angle(canvas), 0.6 * _length(canvas), canvas.line_width()
    alpha = np.zeros(canvas.shape, np.float32)
    for _ in range(canvas.integers(3, 8)):
        points = canvas.path(length * canvas.uniform(0.5, 1), 0.15, 0.02, angle)
        shift = canvas.normal(0, 0.2 * length, 2)
        line = canvas.stroke(points + shift, _taper(canvas, len(points), 0.7 * width))
        alpha = np.maximum(alpha, line * canvas.uniform(0.6, 1))
    return Layer(alpha, _opposite(canvas, 0.7))


def crack(canvas: Canvas) -> Layer:
    """A jagged dark line, with a branch or two; at times a hair-line, or one right across."""
    length, width, angle = _length(canvas), canvas.line_width(), _angle(canvas)
    if canvas.chance(0.35):
        width = max(1.0, 0.5 * width)
    if canvas.chance(0.3):
        length, angle = 1.8 * length, canvas.axis(0.2)
    points = canvas.path(length, 0.9, 0.55, angle)
    alpha = canvas.stroke(points, _taper(canvas, len(points), width))
    for _ in range(canvas.integers(0, 3)):
        start = points[canvas.integers(len(points))]
        side = angle + canvas.sign() * canvas.uniform(0.5, 1.2)
        branch = canvas.path(length * canvas.uniform(0.2, 0.5), 0.6, 0.5, side)
        widths = np.linspace(0.8 * width, 0.6, len(branch))
        alpha = np.maximum(alpha, canvas.stroke(branch - branch[0] + start, widths))
    return Layer(alpha, _opposite(canvas, 0.1))


def cut(canvas: Canvas) -> Layer:
    """A straight open slit: dark inside, one lip raised and light."""
    angle, width = _angle(canvas), 1.3 * canvas.line_width()
    points = canvas.path(0.7 * _length(canvas), 0.05, 0.0, angle)
    widths = _taper(canvas, len(points), width)
    slit = canvas.stroke(points, widths)
    off = np.array([math.cos(angle), -math.sin(angle)], np.float32) * (0.8 * width)
    lip = canvas.stroke(points + off, 0.7 * widths)
    luma = canvas.local_luma()
    # On black material the slit shows as its light fibres instead.
    inside = luma * (1 - canvas.contrast()) if luma > 0.2 else luma + 0.5
    level = np.where(slit > 0.3, inside, min(1.0, luma + 0.25)).astype(np.float32)
    return Layer(np.maximum(slit, 0.6 * lip), np.repeat(level[..., None], 3, axis=2))


def fibre(canvas: Canvas) -> Layer:
    """A curled thread or hair that lies on the surface."""
    points = canvas.path(1.3 * _length(canvas), canvas.uniform(3, 7), 0.05, _angle(canvas))
    widths = np.full(len(points), 0.8 * canvas.line_width(), np.float32)
    paint = _opposite(canvas, 0.5)
    paint = canvas.recolored(paint, 0.5, saturation=(0.6, 1.0), value=(0.3, 0.95))
    return Layer(canvas.stroke(points, widths), paint)


def crease(canvas: Canvas) -> Layer:
    """A fold: a light line beside a dark one."""
    angle, width = _angle(canvas), 1.2 * canvas.line_width()
    points = canvas.path(1.2 * _length(canvas), 0.25, 0.02, angle)
    widths = _taper(canvas, len(points), width)
    off = np.array([math.cos(angle), -math.sin(angle)], np.float32) * (width / 2)
    light, dark = canvas.stroke(points + off, widths), canvas.stroke(points - off, widths)
    image = shade(canvas.image, 1 + (0.25 + 0.4 * canvas.contrast()) * (light - dark))
    return Layer(np.maximum(light, dark), np.clip(image + 0.1 * (light - dark)[..., None], 0, 1))
