"""What lies behind a part: tables, belts, trays, machines out of focus."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ..drawing.noise import axes, color, gray, mix, shade, smooth, smoothstep, turned
from ..drawing.surface import Field
from . import textures

_TABLES = (
    textures.brushed_metal, textures.wood, textures.veneer, textures.concrete, textures.rubber,
    textures.felt, textures.paper, textures.cardboard, textures.grained_plastic,
)  # fmt: skip


def backdrop(rng: np.random.Generator, height: int, width: int) -> Field:
    """A background (H, W, 3)."""
    kind = rng.random()
    if kind < 0.4:
        return _even(rng, height, width)
    if kind < 0.55:
        return _table(rng, height, width)
    if kind < 0.7:
        return _out_of_focus(rng, height, width)
    if kind < 0.8:
        return _belt(rng, height, width)
    if kind < 0.88:
        return _grid(rng, height, width)
    return _parted(rng, height, width)


def _even(rng: np.random.Generator, height: int, width: int) -> Field:
    """An even table or light box."""
    base = gray(rng, 0.02, 0.98, 0.04) if rng.random() < 0.7 else color(rng, value=(0.1, 0.95))
    grain = smooth(rng, height, width, min(height, width) * rng.uniform(0.005, 0.5))
    return shade(base, 1 + np.float32(rng.uniform(0, 0.06)) * grain)


def _table(rng: np.random.Generator, height: int, width: int) -> Field:
    """A texture, its contrast reduced."""
    image = _TABLES[rng.integers(len(_TABLES))](rng, height, width).image
    return mix(image, image.mean(axis=(0, 1)), float(rng.uniform(0, 0.6)))


def _belt(rng: np.random.Generator, height: int, width: int) -> Field:
    """A conveyor between its two rails."""
    unit = min(height, width)
    across = rng.random() < 0.5
    y, x = axes(height, width)
    v, u = (y, x) if across else (x, y)
    belt = gray(rng, 0.03, 0.3, 0.03) if rng.random() < 0.6 else color(rng, value=(0.15, 0.8))
    weave = smooth(rng, height, width, (unit / 40, unit / 120))
    ribs = np.sin(u * np.float32(rng.uniform(20, 120))) * np.float32(rng.choice([0, 0.08]))
    image = shade(belt, 1 + 0.06 * weave + ribs)
    rail = gray(rng, 0.35, 0.9) if rng.random() < 0.7 else color(rng, value=(0.3, 0.9))
    reach = float(np.abs(v).max()) * rng.uniform(0.7, 1.1)
    light = 0.85 + 0.3 * np.cos((np.abs(v) - reach) * np.float32(30))
    cover = smoothstep(reach - 1 / unit, reach + 1 / unit, np.abs(v))
    return mix(image, shade(rail, light.astype(np.float32)), cover)


def _grid(rng: np.random.Generator, height: int, width: int) -> Field:
    """A cutting mat, a lattice or a perforated tray."""
    unit = min(height, width)
    base = color(rng, (0.3, 0.65), (0.2, 0.7), (0.15, 0.5))
    if rng.random() < 0.5:
        base = gray(rng, 0.1, 0.9)
    v, u = turned(height, width, float(rng.uniform(-0.3, 0.3)))
    period = np.float32(rng.uniform(0.07, 0.25))
    b, a = (v / period) % 1 - 0.5, (u / period) % 1 - 0.5
    if rng.random() < 0.5:
        near = (0.5 - np.maximum(np.abs(a), np.abs(b))) * period - np.float32(
            rng.uniform(0.002, 0.01)
        )
    else:
        near = (np.hypot(a, b) - rng.uniform(0.15, 0.4)) * period
    cover = smoothstep(1 / unit, -1 / unit, near)
    ink = base * np.float32(rng.uniform(0.3, 0.8) if rng.random() < 0.6 else rng.uniform(1.2, 1.6))
    return mix(shade(base, 1 + 0.03 * smooth(rng, height, width, unit / 60)), ink, cover)


def _parted(rng: np.random.Generator, height: int, width: int) -> Field:
    """A table and what is beyond its straight edge."""
    v, _ = turned(height, width, float(rng.integers(4)) * math.pi / 2 + float(rng.normal(0, 0.1)))
    offset = np.float32(rng.uniform(-0.45, 0.45))
    pixel = 1 / min(height, width)
    near, far = _even(rng, height, width), _even(rng, height, width)
    return mix(near, far, smoothstep(-pixel, pixel, v - offset))


def _out_of_focus(rng: np.random.Generator, height: int, width: int) -> Field:
    """Machines, lamps and hands far behind, blurred."""
    scale = 4
    rows, columns = height // scale + 2, width // scale + 2
    ground = tuple(int(c * 255) for c in np.clip(gray(rng, 0.1, 0.8, 0.1), 0, 1))
    picture = Image.new("RGB", (columns, rows), ground)
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.integers(4, 14)):
        paint = gray(rng, 0.0, 1.0, 0.05) if rng.random() < 0.75 else color(rng)
        fill = tuple(int(c * 255) for c in np.clip(paint, 0, 1))
        cx, cy = rng.uniform(0, columns), rng.uniform(0, rows)
        rx, ry = rng.uniform(0.03, 0.35, 2) * min(rows, columns)
        if rng.random() < 0.5:
            rx, ry = (rx, ry * 6) if rng.random() < 0.5 else (rx * 6, ry)
        shape = pen.rectangle if rng.random() < 0.7 else pen.ellipse
        shape((cx - rx, cy - ry, cx + rx, cy + ry), fill=fill)
    blur = min(rows, columns) * rng.uniform(0.01, 0.06)
    picture = picture.filter(ImageFilter.GaussianBlur(blur))
    large = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32) * np.float32(1 / 255)
