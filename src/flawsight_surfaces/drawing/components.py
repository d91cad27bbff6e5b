"""Stamps of electronic parts; sizes in pixels."""

import numpy as np

from . import lettering, shapes
from .draw import Draw
from .fields import mix, shade, smoothstep
from .hardware import Disc, stamped
from .surface import Field, Mask, Stamp


def solder(draw: Draw) -> Field:
    """The color (3,) of tin, gold or copper."""
    kind = draw.integers(3)
    if kind == 0:
        return draw.gray(0.6, 0.9)
    return draw.color((0.08, 0.14) if kind == 1 else (0.03, 0.07), (0.4, 0.75), (0.6, 0.9))


def pad(draw: Draw, height: float, width: float, round_: bool, ground: Field) -> Stamp:
    """A bare pad that stands out from its ground (3,), at times with a hole."""
    y, x = shapes.sheet(height, width)
    corner = min(height, width) / 2 if round_ else min(height, width) * 0.12
    distance = shapes.box(y, x, height, width, corner)
    light = 1 + draw.uniform(-0.2, 0.2) * (y / height + x / width)
    metal = solder(draw)
    if abs(float(metal.mean() - ground.mean())) < 0.25:
        metal = metal * 0.4 if float(ground.mean()) > 0.5 else metal * 0.4 + 0.6
    body = shade(metal, light)
    if round_ and draw.chance(0.6):
        bore = shapes.disc(y, x, min(height, width) * draw.uniform(0.18, 0.3))
        body = mix(body, draw.gray(0.0, 0.12), shapes.solid(bore))
    return Stamp(shapes.solid(distance), body)


def _comb(across: Field, pitch: float, count: int) -> Mask:
    """A number of like teeth about the middle."""
    phase = (across / pitch + (0.5 if count % 2 else 0)) % 1
    return np.asarray((np.abs(phase - 0.5) < 0.27) & (np.abs(across) < count * pitch / 2))


def chip(draw: Draw, height: float, width: float) -> Stamp:
    """A black package with legs on two or four sides, a marking and a dot at pin one."""
    leg = max(2.0, 0.13 * height)
    y, x = shapes.sheet(height + 2 * leg, width + 2 * leg)
    pitch = max(3.0, min(height, width) * draw.uniform(0.12, 0.22))
    count = max(2, int(width * 0.9 / pitch))
    pins = _comb(x, pitch, count) & (np.abs(y) < height / 2 + leg)
    if draw.chance(0.35):
        side = max(2, int(height * 0.9 / pitch))
        pins |= _comb(y, pitch, side) & (np.abs(x) < width / 2 + leg)
    case = shapes.solid(shapes.box(y, x, height, width, 1))
    black = draw.gray(0.06, 0.22, 0.01)
    rim = shapes.line(shapes.box(y, x, height - 2, width - 2, 1), 1.0)
    body = mix(shade(solder(draw), np.ones(y.shape, np.float32)), black, case)
    body = mix(body, black + 0.12, rim * case)
    dot = shapes.disc(y - height * 0.3, x + width * 0.38, max(1.0, 0.06 * height))
    body = mix(body, draw.gray(0.35, 0.6), shapes.solid(dot))
    if height > 14:
        mark = lettering.text(max(5.0, height * 0.22), lettering.words(draw, 6))
        body = stamped(body, mark, draw.gray(0.5, 0.85))
    alpha = np.maximum(case, pins)
    return Stamp(alpha, body, 0.35 * shapes.solid(shapes.box(y - 1, x - 1, height, width, 2), 0.4))


def resistor(draw: Draw, height: float, width: float) -> Stamp:
    """A small block between two soldered ends."""
    y, x = shapes.sheet(height, width)
    outer = shapes.solid(shapes.box(y, x, height, width, 1))
    kind = draw.integers(3)
    fill = draw.gray(0.05, 0.2) if kind == 0 else draw.color((0.06, 0.12), (0.3, 0.6), (0.4, 0.8))
    if kind == 2:
        fill = draw.color((0.5, 0.7), (0.2, 0.7), (0.2, 0.7))
    inner = shapes.solid(shapes.box(y, x, height, width * 0.6))
    body = mix(shade(solder(draw), np.ones(y.shape, np.float32)), fill, inner)
    if kind == 0 and height > 9:
        value = lettering.text(height * 0.45, str(draw.integers(100, 999)))
        body = stamped(body, value, draw.gray(0.7, 0.9))
    return Stamp(outer, body, 0.2 * shapes.solid(shapes.box(y, x, height + 1, width + 1, 2), 0.5))


def can(draw: Draw, size: float) -> Stamp:
    """A round can from above: a capacitor, a buzzer, a sensor eye."""
    disc = Disc(draw, size, 4)
    r = disc.r / disc.radius
    light = 0.9 + 0.25 * disc.fan + 0.2 * np.sin(r * draw.uniform(4, 12))
    metal = draw.gray(0.1, 0.85) if draw.chance(0.7) else draw.color(value=(0.2, 0.8))
    body = shade(metal, light)
    if draw.chance(0.5):  # a dark mouth
        body = mix(body, draw.gray(0.03, 0.3), smoothstep(0.7, 0.62, r))
    elif draw.chance(0.5):  # a half marked as the minus pole
        half = (disc.x > 0.3 * disc.radius) * smoothstep(0.95, 0.9, r)
        body = mix(body, draw.gray(0.05, 0.2), half)
    shadow = disc.shadow(0.4, 1.05, 0.12, 0.4)
    return Stamp(shapes.solid((r - 1) * disc.radius), np.clip(body, 0, 1), shadow)


def led(draw: Draw, size: float, paint: Field) -> Stamp:
    """A lens of one color in a white or black frame."""
    y, x = shapes.sheet(size, size)
    body = np.broadcast_to(draw.gray(0.85, 0.98), (*y.shape, 3))
    lens = mix(body, paint, smoothstep(0.85, 0.75, np.hypot(y, x) / (size / 2)))
    glint = smoothstep(0.35, 0.1, np.hypot(y / size + 0.12, x / size + 0.12) * 2)
    square = draw.chance(0.5)
    distance = shapes.box(y, x, size, size, 1) if square else shapes.disc(y, x, size / 2)
    return Stamp(shapes.solid(distance), np.clip(lens + 0.4 * glint[..., None], 0, 1))


def pin(height: float, width: float, metal: Field) -> Stamp:
    """A straight contact pin, bright along its middle."""
    y, x = shapes.sheet(height, width, 1)
    across = np.abs(x) / (width / 2) if height > width else np.abs(y) / (height / 2)
    body = shade(metal, 1.15 - 0.5 * across * across)
    corner = 0.3 * min(height, width)
    return Stamp(shapes.solid(shapes.box(y, x, height, width, corner)), np.clip(body, 0, 1))
