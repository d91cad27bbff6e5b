"""Defects that cover an area: each takes a canvas and returns one layer."""

import math

import numpy as np

from ..drawing.canvas import Canvas, Layer
from ..drawing.fields import along, away, bell, brighten, lit, mix, shade, smoothstep
from ..drawing.surface import Field


def _away(canvas: Canvas, amount: float, dark: float = 0.75) -> Field:
    """A gray (3,) away from the local lightness by a share of what there is room for."""
    luma = canvas.local_luma()
    darker = luma > 0.3 and (luma > 0.7 or canvas.random() < dark)
    value = luma * (1 - amount) if darker else luma + (1 - luma) * amount
    return np.full(3, value, np.float32)


def relief(canvas: Canvas, sign: float, rough: float) -> Layer:
    """A hollow (sign -1) or a hump (1), seen by its light and dark flanks."""
    radius, distance = canvas.spot(rough=rough, stretch=1.6, grow=1.2)
    height = smoothstep(1.1, 0.05, distance) * (sign * radius)
    light = lit(height, canvas.uniform(0, 2 * math.pi), 0.17 * canvas.contrast())
    light -= 0.12 * smoothstep(1.0, 0.2, distance) * (sign < 0)
    image = brighten(shade(canvas.image, 1 + light), 0.12 * light)
    return Layer(canvas.disc(distance, radius, 0.15), np.clip(image, 0, 1))


def bubble(canvas: Canvas) -> Layer:
    """A ring with a highlight, alone or with a few smaller ones beside it."""
    radius, distance = canvas.spot(0.03, 0.03, 1.2)
    ring = bell(distance - 0.8, 0.18)
    glint = smoothstep(0.35, 0.1, away(*canvas.offsets(), canvas.way(), 0.45 * radius) / radius)
    strength = canvas.contrast()
    light = 1 - 0.6 * strength * ring + 0.12 * smoothstep(1, 0.5, distance)
    image = brighten(shade(canvas.image, light), glint * (0.7 * strength))
    return Layer(canvas.disc(distance, radius, 0.08), np.clip(image, 0, 1))


def pit(canvas: Canvas) -> Layer:
    """A small dark hollow whose rim catches the light on one side."""
    radius, distance = canvas.spot(0.015, 0.2, 1.5)
    rim = lit(smoothstep(1.2, 0.6, distance) * (-radius), canvas.uniform(0, 6.3), 0.3)
    deep = smoothstep(1.0, 0.4, distance) * (0.5 + 0.45 * canvas.contrast())
    image = brighten(shade(canvas.image, 1 - deep), 0.3 * np.maximum(rim, 0))
    return Layer(canvas.disc(distance, radius * 1.1, 0.12), np.clip(image, 0, 1))


def hole(canvas: Canvas) -> Layer:
    """A torn or round opening on what lies behind."""
    radius = canvas.radius(0.04)
    paint = canvas.surface.under
    rough, stretch = canvas.uniform(0.12, 0.4), 1.6
    if canvas.chance(0.3):  # drilled or punched, where none belongs
        rough, stretch = 0.03, 1.2
    distance = canvas.blob(radius, rough, stretch)
    if paint is None:
        paint = _away(canvas, 0.6 + 0.4 * canvas.contrast(), 0.9)
    return Layer(canvas.disc(distance, radius), paint)


def spot(canvas: Canvas) -> Layer:
    """A small speck of one color."""
    radius, distance = canvas.spot(0.012, 0.1, 1.3)
    paint = _away(canvas, canvas.contrast())
    paint = canvas.recolored(paint, 0.4, saturation=(0.6, 1.0), value=(0.3, 0.95))
    return Layer(canvas.disc(distance, radius, 0.15), paint)


def stain(canvas: Canvas) -> Layer:
    """A translucent tint with a denser rim, as a dried drop leaves it."""
    radius, distance = canvas.spot(0.16, 0.3)
    tint = canvas.color((0.0, 1.0), (0.3, 0.9), (0.3, 0.85))
    soaked = mix(canvas.image, canvas.image * tint, 0.4 + 0.5 * canvas.contrast())
    rim = canvas.uniform(0, 0.3) * bell(distance - 0.9, 0.15)
    return Layer(canvas.disc(distance, radius, 0.2), shade(soaked, 1 - rim))


def discoloration(canvas: Canvas) -> Layer:
    """A soft-edged change of hue or lightness that keeps the texture."""
    radius, distance = canvas.spot(0.15, 0.25, grow=1.15)
    strength = canvas.contrast()
    if canvas.chance(0.5):
        gain = 1 + canvas.uniform(0.3, 0.8) * strength * (1 if canvas.local_luma() < 0.5 else -0.6)
        image = canvas.image * gain
    else:
        tint = canvas.color(saturation=(0.6, 1.0), value=(0.5, 0.9))
        image = mix(canvas.image, tint, 0.25 + 0.3 * strength)
    return Layer(canvas.disc(distance, radius, 0.35), np.clip(image, 0, 1))


def corrosion(canvas: Canvas) -> Layer:
    """Rust or a blotchy bloom, broken up by fine grain."""
    radius, distance = canvas.spot(rough=0.35)
    grain = canvas.fractal(max(2.0, radius * 0.3), 3, 0.8)
    rust = canvas.color((0.02, 0.08), (0.6, 0.9), (0.3, 0.65))
    if canvas.chance(0.25):
        rust = canvas.color((0.38, 0.5), (0.2, 0.6), (0.45, 0.8))
    alpha = canvas.disc(distance, radius, 0.12) * smoothstep(-1.8, -0.6, grain)
    return Layer(alpha, shade(rust, np.clip(1 + 0.2 * grain, 0.3, 1.6)))


def smear(canvas: Canvas) -> Layer:
    """Grease or glue wiped along one direction."""
    radius, angle = canvas.radius() * 1.2, canvas.uniform(0, math.pi)
    dy, dx = canvas.offsets()
    length = along(dy, dx, (math.sin(angle), math.cos(angle))) / (radius * 1.9)
    across = along(dy, dx, (math.cos(angle), -math.sin(angle))) / (radius * 0.6)
    wiped = canvas.streaks(radius * 2, max(1.5, radius * 0.15), -angle)
    alpha = smoothstep(1.15, 0.6, np.hypot(length, across) + 0.12 * wiped)
    strength = 0.3 + 0.4 * canvas.contrast()
    paint = mix(canvas.image, _away(canvas, 0.9, 0.4), strength)
    return Layer(alpha * np.clip(0.85 + 0.2 * wiped, 0.3, 1), paint)


def worn_patch(canvas: Canvas) -> Layer:
    """Rubbed through: the texture is gone and another shade shows."""
    radius, distance = canvas.spot(rough=0.5, grow=1.1)
    grain = canvas.fractal(max(1.5, canvas.unit / 60), 2)
    shown = mix(canvas.local_color(), _away(canvas, 0.9, 0.4), 0.35 + 0.3 * canvas.contrast())
    alpha = canvas.disc(distance, radius, 0.12) * smoothstep(-2.2, -0.8, grain)
    return Layer(alpha, shade(shown, 1 + 0.05 * grain))


def burn(canvas: Canvas) -> Layer:
    """A charred core that fades out through brown."""
    radius, distance = canvas.spot(rough=0.3, stretch=1.5, grow=1.15)
    char = smoothstep(0.95, 0.25, distance) * (0.4 + 0.55 * canvas.contrast())
    brown = canvas.image * np.array([0.72, 0.5, 0.32], np.float32)
    black = np.array([0.06, 0.045, 0.04], np.float32)
    return Layer(canvas.disc(distance, radius, 0.3), mix(brown, black, char))


def chip(canvas: Canvas) -> Layer:
    """A flake broken off: angular, the fracture lighter or darker with a shaded edge."""
    radius, sides = canvas.radius(0.03), int(canvas.integers(5, 9))
    turns = np.sort(canvas.uniform(0, 2 * math.pi, sides))
    distance = canvas.facets(radius, turns, 0.75, 1.25)
    ends = np.hypot(*canvas.offsets()) / (2 * radius)
    alpha = canvas.disc(np.maximum(distance, ends), radius)
    if canvas.surface.under is not None and canvas.chance(0.6):
        return Layer(alpha, canvas.surface.under)
    facet = lit(np.minimum(distance, 1.2) * radius, canvas.uniform(0, 6.3), 0.12)
    base = mix(canvas.local_color(), _away(canvas, 0.9, 0.4), canvas.contrast())
    return Layer(alpha, np.clip(shade(base, 1 + facet), 0, 1))


def missing_piece(canvas: Canvas) -> Layer:
    """A larger part is gone and the background or a dark void shows."""
    radius, distance = canvas.spot(0.12, 0.2, 1.8, grow=1.25)
    paint = canvas.surface.under
    if paint is None:
        void = _away(canvas, 0.55 + 0.4 * canvas.contrast(), 0.85)
        paint = shade(void, 0.75 + 0.25 * smoothstep(1.05, 0.75, distance))
    return Layer(canvas.disc(distance, radius), paint)


def misprint(canvas: Canvas) -> Layer:
    """A patch of the pattern itself at the wrong place, its shade slightly off."""
    radius, tall = canvas.radius(0.06) * 1.3, canvas.uniform(0.6, 1.4)
    dy, dx = canvas.offsets()
    box = np.maximum(np.abs(dy) * tall, np.abs(dx) / tall) / radius
    shift = [int(side * canvas.uniform(0.15, 0.35)) * int(canvas.sign()) for side in canvas.shape]
    gain = 1 + canvas.uniform(0.15, 0.35) * canvas.sign()
    moved = np.roll(canvas.image, shift, (0, 1))
    return Layer(canvas.disc(box, radius), np.clip(moved * gain, 0, 1))
