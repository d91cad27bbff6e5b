"""Several equal goods in one image: in rows, in a tray or scattered over a table."""

import numpy as np

from ..drawing import lettering, shapes
from ..drawing.draw import Draw
from ..drawing.fields import along, bulge, mix, near, shade, smoothstep
from ..drawing.hardware import disc_shadow, stamped
from ..drawing.stamps import arranged, dome, gather, lay_all, rows, scattered, turned
from ..drawing.surface import Stamp, Surface
from .backdrop import backdrop


def tablets(draw: Draw) -> Surface:
    """Tablets or sweets, all alike."""
    centers, pitch = arranged(draw)
    size = pitch * draw.uniform(0.6, 0.85)
    oblong = draw.uniform(0.55, 0.8) if draw.chance(0.3) else 1.0
    y, x = shapes.sheet(size, size, 4)
    distance = shapes.box(y, x, size * oblong, size, size * oblong / 2)
    light, lamp = dome(draw, y / oblong, x, size)
    coat = draw.color(saturation=(0.0, 0.85), value=(0.5, 0.98))
    if draw.chance(0.4):
        light = light - 0.25 * smoothstep(0.05, 0.01, np.abs(x) / size) * (np.abs(y) < 0.35 * size)
    body = shade(coat, light)
    if draw.chance(0.4) and size > 16:
        body = stamped(body, lettering.text(size * 0.3, lettering.words(draw, 3)), coat * 0.6)
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.5, lamp, 0.06 * size), 0.3)
    stamp = Stamp(shapes.solid(distance), body, shadow)
    return gather(backdrop(draw), centers, lambda: stamp, "tablet")


def gel_capsules(draw: Draw) -> Surface:
    """Clear or two-colored capsules, lying any way."""
    pitch = draw.unit * draw.uniform(0.2, 0.4)
    centers = scattered(draw, pitch, int(draw.integers(4, 22)))
    long = pitch * draw.uniform(0.75, 0.95)
    high = long * draw.uniform(0.35, 0.6)
    y, x = shapes.sheet(high, long, 3)
    distance = shapes.box(y, x, high, long, high / 2)
    first = draw.color(saturation=(0.2, 1), value=(0.3, 0.95))
    second = first if draw.chance(0.5) else draw.color(saturation=(0, 1), value=(0.4, 1))
    body = shade(mix(first, second, shapes.solid(x)), 0.55 + 0.5 * bulge(2 * y / high))
    glint = near(y / high + 0.22, 0.12) * (np.abs(x) < 0.3 * long) * draw.uniform(0.2, 0.6)
    body = np.clip(body + glint[..., None], 0, 1)
    stamp = Stamp(shapes.solid(distance), body, 0.35 * shapes.solid(distance - 1, 0.3))
    return gather(backdrop(draw), centers, lambda: turned(draw, stamp), "capsule")


def buttons(draw: Draw) -> Surface:
    """Buttons with two or four holes."""
    centers, pitch = arranged(draw, (0.25, 0.8))
    size = pitch * draw.uniform(0.65, 0.9)
    y, x, r = shapes.round_sheet(size)
    light, lamp = dome(draw, y, x, size)
    light = light - 0.2 * near(r - draw.uniform(0.6, 0.8), 0.06)
    body = shade(draw.color(saturation=(0, 0.9), value=(0.15, 0.98)), light)
    off = 0.2 * size / 2 * (1 if draw.chance(0.5) else 1.2)
    for i, j in [(-1, -1), (1, 1), (-1, 1), (1, -1)][: int(draw.choice([2, 4]))]:
        hole = shapes.disc(y - (i * off), x - (j * off), 0.1 * size)
        body = mix(body, draw.gray(0.02, 0.15), shapes.solid(hole))
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.5, lamp, 0.06 * size), 0.3)
    stamp = Stamp(shapes.solid((r - 1) * (size / 2)), body, shadow)
    return gather(backdrop(draw), centers, lambda: turned(draw, stamp), "button")


def seeds(draw: Draw) -> Surface:
    """Beans, kernels or nuts, each a little different."""
    pitch = draw.unit * draw.uniform(0.15, 0.45)
    most = int(draw.integers(1, 30)) if pitch < 0.3 * draw.unit else int(draw.integers(1, 6))
    centers = scattered(draw, pitch, most)
    shell = draw.color((0.02, 0.14), (0.1, 0.8), (0.3, 0.95))
    ratio, bend = draw.uniform(0.5, 0.95), draw.uniform(0, 0.25)
    rough, lines = draw.uniform(0.02, 0.12), draw.chance(0.5)

    def seed() -> Stamp:
        size = pitch * draw.uniform(0.7, 0.88)
        y, x = shapes.sheet(size, size, 4)
        piece = draw.sized(*y.shape)
        wobble = 0.04 * piece.smooth(size * 0.4)
        v = y / ratio + bend * (x * x) / (size / 2)
        r = np.hypot(v, x) / (size / 2) + wobble
        light, lamp = dome(draw, y, x, size)
        light -= 0.35 * r * r - rough * piece.fractal(size * 0.15, 3)
        if lines:
            light += rough * np.sin((v / size) * draw.uniform(15, 40))
        tint = shell * draw.uniform(0.85, 1.15, 3).astype(np.float32)
        shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.46, lamp, 0.07 * size), 0.25)
        return turned(draw, Stamp(shapes.solid((r - 1) * (size / 2)), shade(tint, light), shadow))

    return gather(backdrop(draw), centers, seed, "seed")


def lids(draw: Draw) -> Surface:
    """Round lids, corks, candles or coins in a tray."""
    pitch = draw.unit * draw.uniform(0.35, 0.6)
    image = backdrop(draw)
    size = pitch * draw.uniform(0.65, 0.9)
    y, x, r = shapes.round_sheet(size)
    light, lamp = dome(draw, y, x, size * 1.5)
    for _ in range(draw.integers(0, 3)):
        at = draw.uniform(0.3, 0.95)
        light += draw.uniform(-0.3, 0.3) * near(r - at, 0.05)
    light += draw.uniform(0, 0.05) * draw.sized(*y.shape).fractal(size * 0.1, 3)
    paint = draw.color(saturation=(0, 0.9), value=(0.3, 0.98))
    body = shade(paint, light)
    if draw.chance(0.4):
        body = stamped(body, lettering.logo(draw, size * 0.5), np.clip(paint * 0.5, 0, 1))
    elif draw.chance(0.5):  # a wick, a stem or a centering hole
        body = mix(body, draw.gray(0.05, 0.3), shapes.solid(shapes.disc(y, x, 0.05 * size)))
    shadow = 0.5 * shapes.solid(disc_shadow(y, x, size * 0.52, lamp, 0.08 * size), 0.25)
    stamp = Stamp(shapes.solid((r - 1) * (size / 2)), np.clip(body, 0, 1), shadow)
    return gather(image, rows(draw, pitch), lambda: stamp, "lid")


def blister_pack(draw: Draw) -> Surface:
    """Tablets in the pockets of a foil."""
    foil = draw.gray(0.6, 0.9) if draw.chance(0.7) else draw.color(saturation=(0.1, 0.5))
    light = 1 + 0.06 * draw.smooth(draw.unit / 60) + 0.1 * draw.smooth(draw.unit / 2)
    image = shade(foil, light)
    pitch = draw.unit * draw.uniform(0.22, 0.42)
    size = pitch * draw.uniform(0.62, 0.8)
    y, x = shapes.sheet(size * 1.2, size * 1.2, 2)
    r = np.hypot(y, x) / (size / 2)
    light, _ = dome(draw, y, x, size)
    pocket = Stamp(smoothstep(1.2, 1.1, r), shade(foil, 0.75 + 0.4 * (y + x) / size))
    coat = draw.color(saturation=(0, 0.8), value=(0.5, 1))
    pill = Stamp(shapes.solid((r - 0.85) * (size / 2)), shade(coat, light))
    centers = rows(draw, pitch)
    lay_all(image, pocket, centers, "")
    items = lay_all(image, pill, centers[:80], "tablet")
    return Surface(image, items=items, countable=len(items) <= 16)


def toy_bricks(draw: Draw) -> Surface:
    """A moulded block with round studs in rows, seen from above."""
    paint = draw.color(saturation=(0.0, 0.95), value=(0.3, 0.98))
    image = shade(paint, 1 + 0.03 * draw.smooth(draw.unit * 0.5))
    pitch = draw.unit * draw.uniform(0.18, 0.4)
    size = pitch * draw.uniform(0.55, 0.7)
    y, x, r = shapes.round_sheet(size)
    light, lamp = dome(draw, y, x, size)
    top = shade(paint, light + 0.05 + 0.25 * near(r - 0.9, 0.1) * np.sign(along(y, x, lamp)))
    if draw.chance(0.5) and size > 16:
        top = stamped(top, lettering.text(size * 0.28, lettering.words(draw, 3)), paint * 0.8)
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.52, lamp, 0.1 * size), 0.3)
    stamp = Stamp(shapes.solid(shapes.disc(y, x, size / 2)), np.clip(top, 0, 1), shadow)
    items = lay_all(image, stamp, rows(draw, pitch)[:80], "stud")
    return Surface(image, items=items, countable=len(items) <= 16)
