"""Defects that cover an area: each takes the generator and a canvas and returns one layer."""

import math

import numpy as np

from ..drawing.canvas import Canvas, Layer
from ..drawing.noise import color, fractal, lit, mix, shade, smoothstep, streaks
from ..drawing.surface import Field


def _away(canvas: Canvas, rng: np.random.Generator, amount: float, dark: float = 0.75) -> Field:
    """A gray (3,) away from the local lightness by a share of what there is room for."""
    luma = canvas.local_luma()
    darker = luma > 0.3 and (luma > 0.7 or rng.random() < dark)
    value = luma * (1 - amount) if darker else luma + (1 - luma) * amount
    return np.full(3, value, np.float32)


def _relief(rng: np.random.Generator, canvas: Canvas, sign: float, rough: float) -> Layer:
    """A hollow or a hump, seen by its light and dark flanks."""
    radius = canvas.radius(rng) * 1.2
    distance = canvas.blob(rng, radius, rough, 1.6)
    height = smoothstep(1.1, 0.05, distance) * np.float32(sign * radius)
    light = lit(height, float(rng.uniform(0, 2 * math.pi)), 0.17 * canvas.contrast(rng))
    light -= np.float32(0.12) * smoothstep(1.0, 0.2, distance) * np.float32(sign < 0)
    image = shade(canvas.surface.image, 1 + light) + 0.12 * light[..., None]
    return Layer(canvas.disc(distance, radius, 0.15), np.clip(image, 0, 1))


def dent(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A hollow with shaded flanks."""
    return _relief(rng, canvas, -1.0, 0.12)


def bump(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A hump with shaded flanks."""
    return _relief(rng, canvas, 1.0, 0.05)


def bubble(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A ring with a highlight, alone or with a few smaller ones beside it."""
    radius = canvas.radius(rng, 0.03)
    distance = canvas.blob(rng, radius, 0.03, 1.2)
    ring = np.exp(-(((distance - 0.8) / 0.18) ** 2)).astype(np.float32)
    dy, dx = canvas.offsets()
    angle = rng.uniform(0, 2 * math.pi)
    shift = 0.45 * radius
    glint = np.hypot(dy - shift * math.sin(angle), dx - shift * math.cos(angle)) / radius
    strength = canvas.contrast(rng)
    light = 1 - 0.6 * strength * ring + 0.12 * smoothstep(1, 0.5, distance)
    image = shade(canvas.surface.image, light.astype(np.float32))
    image = image + (strength * 0.7 * smoothstep(0.35, 0.1, glint))[..., None]
    return Layer(canvas.disc(distance, radius, 0.08), np.clip(image, 0, 1).astype(np.float32))


def pit(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A small dark hollow whose rim catches the light on one side."""
    radius = canvas.radius(rng, 0.015)
    distance = canvas.blob(rng, radius, 0.2, 1.5)
    rim = lit(smoothstep(1.2, 0.6, distance) * np.float32(-radius), rng.uniform(0, 6.3), 0.3)
    deep = smoothstep(1.0, 0.4, distance) * np.float32(0.5 + 0.45 * canvas.contrast(rng))
    image = shade(canvas.surface.image, 1 - deep) + 0.3 * np.maximum(rim, 0)[..., None]
    return Layer(canvas.disc(distance, radius * 1.1, 0.12), np.clip(image, 0, 1))


def hole(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A torn opening on what lies behind."""
    radius = canvas.radius(rng, 0.04)
    distance = canvas.blob(rng, radius, rng.uniform(0.12, 0.4), 1.6)
    alpha = canvas.disc(distance, radius)
    if canvas.surface.under is not None:
        return Layer(alpha, canvas.surface.under)
    return Layer(alpha, _away(canvas, rng, 0.6 + 0.4 * canvas.contrast(rng), 0.9))


def spot(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A small speck of one color."""
    radius = canvas.radius(rng, 0.012)
    distance = canvas.blob(rng, radius, 0.1, 1.3)
    paint = _away(canvas, rng, canvas.contrast(rng))
    if rng.random() < 0.4:
        paint = color(rng, saturation=(0.6, 1.0), value=(0.3, 0.95))
    return Layer(canvas.disc(distance, radius, 0.15), paint)


def stain(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A translucent tint with a denser rim, as a dried drop leaves it."""
    radius = canvas.radius(rng, 0.16)
    distance = canvas.blob(rng, radius, 0.3)
    tint = color(rng, (0.0, 1.0), (0.3, 0.9), (0.3, 0.85))
    image = canvas.surface.image
    soaked = mix(image, image * tint, 0.4 + 0.5 * canvas.contrast(rng))
    rim = np.exp(-(((distance - 0.9) / 0.15) ** 2)).astype(np.float32)
    return Layer(
        canvas.disc(distance, radius, 0.2), shade(soaked, 1 - np.float32(rng.uniform(0, 0.3)) * rim)
    )


def discoloration(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A soft-edged change of hue or lightness that keeps the texture."""
    radius = canvas.radius(rng, 0.15) * 1.15
    distance = canvas.blob(rng, radius, 0.25)
    strength = canvas.contrast(rng)
    if rng.random() < 0.5:
        gain = 1 + rng.uniform(0.3, 0.8) * strength * (1 if canvas.local_luma() < 0.5 else -0.6)
        image = canvas.surface.image * np.float32(gain)
    else:
        tint = color(rng, saturation=(0.6, 1.0), value=(0.5, 0.9))
        image = mix(canvas.surface.image, tint, 0.25 + 0.3 * strength)
    return Layer(canvas.disc(distance, radius, 0.35), np.clip(image, 0, 1))


def corrosion(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """Rust or a blotchy bloom, broken up by fine grain."""
    radius = canvas.radius(rng)
    distance = canvas.blob(rng, radius, 0.35)
    grain = fractal(rng, *canvas.shape, max(2.0, radius * 0.3), 3, 0.8)
    rust = color(rng, (0.02, 0.08), (0.6, 0.9), (0.3, 0.65))
    if rng.random() < 0.25:
        rust = color(rng, (0.38, 0.5), (0.2, 0.6), (0.45, 0.8))
    alpha = canvas.disc(distance, radius, 0.12) * smoothstep(-1.8, -0.6, grain)
    return Layer(alpha, shade(rust, np.clip(1 + 0.2 * grain, 0.3, 1.6)))


def smear(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """Grease or glue wiped along one direction."""
    radius = canvas.radius(rng) * 1.2
    angle = float(rng.uniform(0, math.pi))
    dy, dx = canvas.offsets()
    along = (math.cos(angle) * dx + math.sin(angle) * dy) / (radius * 1.9)
    across = (math.cos(angle) * dy - math.sin(angle) * dx) / (radius * 0.6)
    wiped = streaks(rng, *canvas.shape, radius * 2, max(1.5, radius * 0.15), -angle)
    distance = np.hypot(along, across).astype(np.float32) + 0.12 * wiped
    alpha = smoothstep(1.15, 0.6, distance) * np.clip(0.85 + 0.2 * wiped, 0.3, 1)
    strength = 0.3 + 0.4 * canvas.contrast(rng)
    paint = mix(canvas.surface.image, _away(canvas, rng, 0.9, 0.4), strength)
    return Layer(alpha, paint)


def worn_patch(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """Rubbed through: the texture is gone and another shade shows."""
    radius = canvas.radius(rng) * 1.1
    distance = canvas.blob(rng, radius, 0.5)
    grain = fractal(rng, *canvas.shape, max(1.5, canvas.unit / 60), 2)
    base = canvas.local_color()
    shown = mix(base, _away(canvas, rng, 0.9, 0.4), 0.35 + 0.3 * canvas.contrast(rng))
    alpha = canvas.disc(distance, radius, 0.12) * smoothstep(-2.2, -0.8, grain)
    return Layer(alpha, shade(shown, 1 + np.float32(0.05) * grain))


def burn(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A charred core that fades out through brown."""
    radius = canvas.radius(rng) * 1.15
    distance = canvas.blob(rng, radius, 0.3, 1.5)
    char = smoothstep(0.95, 0.25, distance) * np.float32(0.4 + 0.55 * canvas.contrast(rng))
    brown = canvas.surface.image * np.array([0.72, 0.5, 0.32], np.float32)
    black = np.array([0.06, 0.045, 0.04], np.float32)
    return Layer(canvas.disc(distance, radius, 0.3), mix(brown, black, char))


def chip(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A flake broken off: angular, the fracture lighter or darker with a shaded edge."""
    radius = canvas.radius(rng, 0.03)
    corners = int(rng.integers(5, 9))
    turns = np.sort(rng.uniform(0, 2 * math.pi, corners))
    distance: Field = np.zeros(canvas.shape, np.float32)
    dy, dx = canvas.offsets()
    for turn in turns:  # a convex polygon as the farthest of its sides
        reach = radius * rng.uniform(0.75, 1.25)
        side = (math.sin(turn) * dy + math.cos(turn) * dx) / reach
        distance = np.maximum(distance, side.astype(np.float32))
    alpha = canvas.disc(np.maximum(distance, np.hypot(dy, dx) / (2 * radius)), radius)
    if canvas.surface.under is not None and rng.random() < 0.6:
        return Layer(alpha, canvas.surface.under)
    facet = lit(np.minimum(distance, 1.2) * np.float32(radius), rng.uniform(0, 6.3), 0.12)
    base = mix(canvas.local_color(), _away(canvas, rng, 0.9, 0.4), canvas.contrast(rng))
    return Layer(alpha, np.clip(shade(base, 1 + facet), 0, 1))


def missing_piece(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A larger part is gone and the background or a dark void shows."""
    radius = canvas.radius(rng, 0.12) * 1.25
    distance = canvas.blob(rng, radius, 0.2, 1.8)
    alpha = canvas.disc(distance, radius)
    if canvas.surface.under is not None:
        return Layer(alpha, canvas.surface.under)
    inner = smoothstep(1.05, 0.75, distance)
    void = _away(canvas, rng, 0.55 + 0.4 * canvas.contrast(rng), 0.85)
    return Layer(alpha, shade(void, 0.75 + 0.25 * inner))


def misprint(rng: np.random.Generator, canvas: Canvas) -> Layer:
    """A patch of the pattern itself at the wrong place, its shade slightly off."""
    height, width = canvas.shape
    radius = canvas.radius(rng, 0.06) * 1.3
    dy, dx = canvas.offsets()
    tall = rng.uniform(0.6, 1.4)
    box = np.maximum(np.abs(dy) * tall, np.abs(dx) / tall) / radius
    shift = [
        int(s * rng.uniform(0.15, 0.35)) * int(float(rng.choice([-1, 1]))) for s in (height, width)
    ]
    moved = np.roll(canvas.surface.image, shift, (0, 1))
    gain = np.float32(1 + rng.uniform(0.15, 0.35) * float(rng.choice([-1, 1])))
    return Layer(canvas.disc(box.astype(np.float32), radius), np.clip(moved * gain, 0, 1))
