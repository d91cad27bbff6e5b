"""Several like goods in one image: in rows, in a tray or scattered over a table."""

import numpy as np

from ..drawing import lettering, shapes
from ..drawing.hardware import disc_shadow, stamped
from ..drawing.layout import arranged, dome, gather, rows, scattered
from ..drawing.noise import color, fractal, gray, mix, shade, smooth, smoothstep
from ..drawing.stamps import lay, transformed
from ..drawing.surface import Stamp, Surface
from .backdrop import backdrop


def tablets(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Tablets or sweets, all alike."""
    centers, pitch, _ = arranged(rng, height, width)
    size = pitch * rng.uniform(0.6, 0.85)
    oblong = rng.uniform(0.55, 0.8) if rng.random() < 0.3 else 1.0
    y, x = shapes.sheet(size, size, 4)
    distance = shapes.box(y, x, size * oblong, size, size * oblong / 2)
    light, lamp = dome(y / np.float32(oblong), x, size, rng)
    coat = color(rng, saturation=(0.0, 0.85), value=(0.5, 0.98))
    if rng.random() < 0.4:
        light = light - 0.25 * smoothstep(0.05, 0.01, np.abs(x) / size) * (np.abs(y) < 0.35 * size)
    body = shade(coat, light.astype(np.float32))
    if rng.random() < 0.4 and size > 16:
        body = stamped(body, lettering.text(size * 0.3, lettering.words(rng, 3)), coat * 0.6)
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.5, lamp, 0.06 * size), 0.3)
    stamp = Stamp(shapes.solid(distance), body, shadow)
    return gather(backdrop(rng, height, width), centers, lambda: stamp, "tablet")


def gel_capsules(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Clear or two-colored capsules, lying any way."""
    pitch = min(height, width) * rng.uniform(0.2, 0.4)
    centers = scattered(rng, height, width, pitch, int(rng.integers(4, 22)))
    long = pitch * rng.uniform(0.75, 0.95)
    high = long * rng.uniform(0.35, 0.6)
    y, x = shapes.sheet(high, long, 3)
    distance = shapes.box(y, x, high, long, high / 2)
    first = color(rng, saturation=(0.2, 1), value=(0.3, 0.95))
    second = first if rng.random() < 0.5 else color(rng, saturation=(0, 1), value=(0.4, 1))
    bulge = 0.55 + 0.5 * np.sqrt(np.clip(1 - (2 * y / high) ** 2, 0, 1))
    body = shade(mix(first, second, shapes.solid(x)), bulge.astype(np.float32))
    glint = smoothstep(0.12, 0.0, np.abs(y / high + 0.22)) * (np.abs(x) < 0.3 * long)
    body = np.clip(body + (glint * rng.uniform(0.2, 0.6))[..., None], 0, 1)
    stamp = Stamp(shapes.solid(distance), body, 0.35 * shapes.solid(distance - 1, 0.3))
    return gather(
        backdrop(rng, height, width),
        centers,
        lambda: transformed(stamp, rng.uniform(0, 360)),
        "capsule",
    )


def buttons(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Buttons with two or four holes."""
    centers, pitch, _ = arranged(rng, height, width, (0.25, 0.8))
    size = pitch * rng.uniform(0.65, 0.9)
    y, x = shapes.sheet(size, size, 4)
    r = np.hypot(y, x) / (size / 2)
    light, lamp = dome(y, x, size, rng)
    rim = rng.uniform(0.6, 0.8)
    light = light - 0.2 * smoothstep(0.06, 0, np.abs(r - rim))
    body = shade(color(rng, saturation=(0, 0.9), value=(0.15, 0.98)), light.astype(np.float32))
    off = 0.2 * size / 2 * (1 if rng.random() < 0.5 else 1.2)
    distance = (r - 1) * (size / 2)
    spots = [(-1, -1), (1, 1), (-1, 1), (1, -1)][: int(rng.choice([2, 4]))]
    for i, j in spots:
        hole = shapes.disc(y - np.float32(i * off), x - np.float32(j * off), 0.1 * size)
        body = mix(body, gray(rng, 0.02, 0.15), shapes.solid(hole))
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.5, lamp, 0.06 * size), 0.3)
    stamp = Stamp(shapes.solid(distance), body, shadow)
    return gather(
        backdrop(rng, height, width),
        centers,
        lambda: transformed(stamp, rng.uniform(0, 360)),
        "button",
    )


def seeds(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Beans, kernels or nuts, each a little different."""
    pitch = min(height, width) * rng.uniform(0.15, 0.45)
    most = int(rng.integers(1, 30)) if pitch < 0.3 * min(height, width) else int(rng.integers(1, 6))
    centers = scattered(rng, height, width, pitch, most)
    shell = color(rng, (0.02, 0.14), (0.1, 0.8), (0.3, 0.95))
    ratio, bend = rng.uniform(0.5, 0.95), rng.uniform(0, 0.25)
    rough, lines = rng.uniform(0.02, 0.12), rng.random() < 0.5

    def draw() -> Stamp:
        size = pitch * rng.uniform(0.7, 0.88)
        y, x = shapes.sheet(size, size, 4)
        h, w = y.shape
        wobble = 0.04 * smooth(rng, h, w, size * 0.4)
        v = y / np.float32(ratio) + np.float32(bend) * (x * x) / np.float32(size / 2)
        r = np.hypot(v, x) / (size / 2) + wobble
        light, lamp = dome(y, x, size, rng)
        light -= 0.35 * r * r - np.float32(rough) * fractal(rng, h, w, size * 0.15, 3)
        if lines:
            light += np.float32(rough) * np.sin((v / size) * np.float32(rng.uniform(15, 40)))
        tint = shell * rng.uniform(0.85, 1.15, 3).astype(np.float32)
        shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.46, lamp, 0.07 * size), 0.25)
        stamp = Stamp(
            shapes.solid((r - 1) * (size / 2)), shade(tint, light.astype(np.float32)), shadow
        )
        return transformed(stamp, rng.uniform(0, 360))

    return gather(backdrop(rng, height, width), centers, draw, "seed")


def lids(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Round lids, corks, candles or coins in a tray."""
    unit = min(height, width)
    pitch = unit * rng.uniform(0.35, 0.6)
    image = backdrop(rng, height, width)
    size = pitch * rng.uniform(0.65, 0.9)
    y, x = shapes.sheet(size, size, 4)
    h, w = y.shape
    r = np.hypot(y, x) / (size / 2)
    light, lamp = dome(y, x, size * 1.5, rng)
    for _ in range(rng.integers(0, 3)):
        at = rng.uniform(0.3, 0.95)
        light += np.float32(rng.uniform(-0.3, 0.3)) * smoothstep(0.05, 0, np.abs(r - at))
    light += np.float32(rng.uniform(0, 0.05)) * fractal(rng, h, w, size * 0.1, 3)
    paint = color(rng, saturation=(0, 0.9), value=(0.3, 0.98))
    body = shade(paint, light.astype(np.float32))
    if rng.random() < 0.4:
        body = stamped(body, lettering.logo(rng, size * 0.5), np.clip(paint * 0.5, 0, 1))
    elif rng.random() < 0.5:  # a wick, a stem or a centering hole
        body = mix(body, gray(rng, 0.05, 0.3), shapes.solid(shapes.disc(y, x, 0.05 * size)))
    shadow = 0.5 * shapes.solid(disc_shadow(y, x, size * 0.52, lamp, 0.08 * size), 0.25)
    stamp = Stamp(shapes.solid((r - 1) * (size / 2)), np.clip(body, 0, 1), shadow)
    return gather(image, rows(rng, height, width, pitch), lambda: stamp, "lid")


def blister_pack(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Tablets in the pockets of a foil."""
    unit = min(height, width)
    foil = gray(rng, 0.6, 0.9) if rng.random() < 0.7 else color(rng, saturation=(0.1, 0.5))
    pattern = (
        1
        + 0.06 * smooth(rng, height, width, unit / 60)
        + 0.1 * smooth(rng, height, width, unit / 2)
    )
    image = shade(foil, pattern)
    pitch = unit * rng.uniform(0.22, 0.42)
    size = pitch * rng.uniform(0.62, 0.8)
    y, x = shapes.sheet(size * 1.2, size * 1.2, 2)
    r = np.hypot(y, x) / (size / 2)
    wall = smoothstep(1.2, 1.1, r)
    light, _ = dome(y, x, size, rng)
    pocket = shade(foil, (0.75 + 0.4 * (y + x) / size).astype(np.float32))
    coat = color(rng, saturation=(0, 0.8), value=(0.5, 1))
    pill = Stamp(shapes.solid((r - 0.85) * (size / 2)), shade(coat, light))
    centers = rows(rng, height, width, pitch)
    for center in centers:
        lay(image, Stamp(wall, pocket), center, "")
    items = [item for center in centers[:80] if (item := lay(image, pill, center, "tablet"))]
    return Surface(image, items=tuple(items), countable=len(items) <= 16)


def toy_bricks(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A moulded block with round studs in rows, seen from above."""
    unit = min(height, width)
    paint = color(rng, saturation=(0.0, 0.95), value=(0.3, 0.98))
    image = shade(paint, 1 + 0.03 * smooth(rng, height, width, unit * 0.5))
    pitch = unit * rng.uniform(0.18, 0.4)
    size = pitch * rng.uniform(0.55, 0.7)
    y, x = shapes.sheet(size, size, 4)
    light, lamp = dome(y, x, size, rng)
    rim = smoothstep(0.1, 0, np.abs(np.hypot(y, x) / (size / 2) - 0.9))
    top = shade(
        paint, (light + 0.05 + 0.25 * rim * np.sign(y * lamp[0] + x * lamp[1])).astype(np.float32)
    )
    if rng.random() < 0.5 and size > 16:
        top = stamped(top, lettering.text(size * 0.28, lettering.words(rng, 3)), paint * 0.8)
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.52, lamp, 0.1 * size), 0.3)
    stamp = Stamp(shapes.solid(shapes.disc(y, x, size / 2)), np.clip(top, 0, 1), shadow)
    centers = rows(rng, height, width, pitch)
    items = [item for center in centers[:80] if (item := lay(image, stamp, center, "stud"))]
    return Surface(image, items=tuple(items), countable=len(items) <= 16)
