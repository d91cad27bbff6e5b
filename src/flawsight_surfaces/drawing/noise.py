"""Fields of noise and the few helpers from which all surfaces and defects are made.

Noise is a small random grid enlarged by bicubic interpolation: far cheaper than filtering.
All lengths are in pixels unless said to be in units, where 1 unit = the shorter image side.
"""

import colorsys
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .surface import Field


def smooth(
    rng: np.random.Generator, height: int, width: int, scale: float | tuple[float, float]
) -> Field:
    """(H, W) noise of mean about 0, deviation about 1; scale = grain size (or (down, across))."""
    down, across = scale if isinstance(scale, tuple) else (scale, scale)
    if down <= 1 and across <= 1:
        return rng.standard_normal((height, width), dtype=np.float32)
    rows, columns = height / max(down, 1.0), width / max(across, 1.0)
    grid = rng.standard_normal((math.ceil(rows) + 3, math.ceil(columns) + 3), dtype=np.float32)
    y, x = 1 + float(rng.random()), 1 + float(rng.random())
    large = Image.fromarray(grid).resize(
        (width, height), Image.Resampling.BICUBIC, box=(x, y, x + columns, y + rows)
    )
    return np.asarray(large, np.float32) * np.float32(1.25)


def fractal(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: float,
    octaves: int = 4,
    gain: float = 0.55,
) -> Field:
    """(H, W) noise over several scales, each half the last, of deviation about 1."""
    total = smooth(rng, height, width, scale)
    weight, power = 1.0, 1.0
    for _ in range(octaves - 1):
        scale, weight = scale / 2, weight * gain
        if scale < 1:
            break
        total = total + np.float32(weight) * smooth(rng, height, width, scale)
        power += weight**2
    return total / np.float32(math.sqrt(power))


def streaks(
    rng: np.random.Generator, height: int, width: int, length: float, thick: float, angle: float
) -> Field:
    """(H, W) noise drawn out along a direction; angle in radians, 0 = horizontal."""
    side = math.ceil(math.hypot(height, width)) + 2
    field = Image.fromarray(smooth(rng, side, side, (thick, length)))
    turned = field.rotate(math.degrees(angle), Image.Resampling.BILINEAR)
    top, left = (side - height) // 2, (side - width) // 2
    return np.asarray(turned, np.float32)[top : top + height, left : left + width]


@lru_cache(maxsize=8)
def axes(height: int, width: int) -> tuple[Field, Field]:
    """y and x of every pixel as (H, W), in units, 0 at the image center."""
    unit = min(height, width)
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / unit
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / unit
    full_y: Field = np.repeat(y.astype(np.float32)[:, None], width, axis=1)
    full_x: Field = np.repeat(x.astype(np.float32)[None, :], height, axis=0)
    full_y.flags.writeable = full_x.flags.writeable = False  # shared by all callers
    return full_y, full_x


def turned(height: int, width: int, angle: float) -> tuple[Field, Field]:
    """The axes turned by an angle in radians: (v, u), u along the angle."""
    y, x = axes(height, width)
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return c * y + s * x, c * x - s * y


def cells(
    rng: np.random.Generator, height: int, width: int, size: float, jitter: float = 0.8
) -> tuple[Field, Field, Field]:
    """A jittered cell pattern: (nearest, second nearest distance in cells, value in [0, 1))."""
    if size >= 6:  # large cells lose nothing at half resolution
        half = cells(rng, (height + 1) // 2, (width + 1) // 2, size / 2, jitter)
        modes = (Image.Resampling.BILINEAR, Image.Resampling.BILINEAR, Image.Resampling.NEAREST)
        near, second, value = (
            np.asarray(Image.fromarray(field).resize((width, height), mode), np.float32)
            for field, mode in zip(half, modes, strict=True)
        )
        return near, second, value
    rows, columns = math.ceil(height / size) + 4, math.ceil(width / size) + 4
    off_y, off_x = (rng.random((2, rows, columns), dtype=np.float32) - 0.5) * np.float32(jitter)
    values = rng.random((rows, columns), dtype=np.float32)
    y = (np.arange(height, dtype=np.float32) / np.float32(size) + 1.5)[:, None]
    x = (np.arange(width, dtype=np.float32) / np.float32(size) + 1.5)[None, :]
    row, column = y.astype(np.intp), x.astype(np.intp)
    first = np.full((height, width), 9, np.float32)
    later, best = first.copy(), np.zeros((height, width), np.float32)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            cell = (row + i, column + j)
            dy = off_y[cell] + (cell[0] - y + 0.5).astype(np.float32)
            dx = off_x[cell] + (cell[1] - x + 0.5).astype(np.float32)
            distance = dy * dy + dx * dx
            best = np.where(distance < first, values[cell], best)
            later = np.minimum(later, np.maximum(first, distance))
            first = np.minimum(first, distance)
    return np.sqrt(first), np.sqrt(later), best


def smoothstep(
    low: float | np.floating, high: float | np.floating, field: NDArray[np.floating]
) -> Field:
    """0 below low, 1 above high, smooth between (low > high turns it round)."""
    t: Field = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    result: Field = t * t * (3 - 2 * t)
    return result


def mix(first: Field, second: Field, amount: Field | float) -> Field:
    """first where amount is 0, second where it is 1.

    amount: (H, W) or one number; colors: (H, W, 3) or (3,).
    """
    if isinstance(amount, float):
        even: Field = first + (second - first) * np.float32(amount)
        return even
    result = np.empty((*amount.shape, 3), np.float32)
    for c in range(3):  # whole planes: numpy is slow along a last axis of three
        result[..., c] = first[..., c] + (second[..., c] - first[..., c]) * amount
    return result


def shade(color: Field, light: Field) -> Field:
    """A color (3,) or (H, W, 3) times a light field (H, W)."""
    result = np.empty((*light.shape, 3), np.float32)
    for c in range(3):
        result[..., c] = color[..., c] * light
    return result


def lit(height: Field, angle: float, strength: float) -> Field:
    """The light change of a relief (H, W) under a lamp at an angle."""
    gy = np.zeros_like(height)
    gx = np.zeros_like(height)
    gy[1:-1] = height[2:] - height[:-2]
    gx[:, 1:-1] = height[:, 2:] - height[:, :-2]
    gy[0], gy[-1], gx[:, 0], gx[:, -1] = gy[1], gy[-2], gx[:, 1], gx[:, -2]
    result: Field = np.float32(strength) * (
        np.float32(math.sin(angle)) * gy + np.float32(math.cos(angle)) * gx
    )
    return result


def color(
    rng: np.random.Generator,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float] = (0.2, 0.8),
    value: tuple[float, float] = (0.2, 0.9),
) -> Field:
    """A random (3,) RGB color from ranges of hue, saturation and value, each in [0, 1]."""
    h, s, v = rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value)
    return np.array(colorsys.hsv_to_rgb(h % 1.0, s, v), np.float32)


def gray(rng: np.random.Generator, low: float, high: float, tint: float = 0.03) -> Field:
    """A random (3,) nearly gray color of value low..high."""
    return (rng.uniform(low, high) + rng.uniform(-tint, tint, 3)).astype(np.float32)


def turn(rng: np.random.Generator) -> float:
    """A random angle in radians, in half the cases along an axis as in most photos of parts."""
    if rng.random() < 0.5:
        return float(rng.integers(4)) * math.pi / 2
    return float(rng.uniform(0, 2 * math.pi))
