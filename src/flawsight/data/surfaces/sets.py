"""Several like things in one image: in rows, in a tray or scattered over a table."""

import math
from collections.abc import Callable

import numpy as np

from . import lettering, shapes
from .backdrop import backdrop
from .hardware import disc_shadow, screw, stamped
from .items import lay, transformed
from .noise import color, fractal, gray, mix, shade, smooth, smoothstep
from .sample import Field, Item, Stamp, Surface

Centers = list[tuple[float, float]]


def _rows(rng: np.random.Generator, height: int, width: int, pitch: float) -> Centers:
    """Rows and columns about a pitch apart, a margin around them, at times in bond."""
    rows, columns = max(1, int(height / pitch)), max(1, int(width / pitch))
    loose = rng.uniform(0, 0.04) * pitch
    bond = rng.random() < 0.25
    return [
        (
            (i + 0.5) * height / rows + rng.normal(0, loose),
            (j + (0.75 if bond and i % 2 else 0.25 if bond else 0.5)) * width / columns
            + rng.normal(0, loose),
        )
        for i in range(rows)
        for j in range(columns)
    ]


def _scattered(
    rng: np.random.Generator, height: int, width: int, pitch: float, most: int
) -> Centers:
    """Random places at least a pitch apart, away from the border."""
    chosen: Centers = []
    for _ in range(most * 6):
        row = float(rng.uniform(0.55 * pitch, height - 0.55 * pitch))
        column = float(rng.uniform(0.55 * pitch, width - 0.55 * pitch))
        if all(math.hypot(row - r, column - c) > pitch for r, c in chosen):
            chosen.append((row, column))
        if len(chosen) == most:
            break
    return chosen


def _gather(image: Field, centers: Centers, draw: Callable[[], Stamp], kind: str) -> Surface:
    """Things at their places on a background, which is changed."""
    under = image.copy()
    items: list[Item] = []
    region = np.zeros(image.shape[:2], np.float32)
    for center in centers[:100]:
        item = lay(image, draw(), center, kind)
        if item is not None:
            items.append(item)
            np.maximum(region[item.box], item.stamp.alpha, out=region[item.box])
    return Surface(image, region, under, items=tuple(items), countable=len(items) <= 12)


def _arranged(
    rng: np.random.Generator, height: int, width: int, reach: tuple[float, float] = (0.17, 0.5)
) -> tuple[Centers, float, bool]:
    """Places, the pitch in pixels between them, and whether they are in rows."""
    pitch = min(height, width) * rng.uniform(*reach)
    if rng.random() < 0.55:
        return _rows(rng, height, width, pitch), pitch, True
    return _scattered(rng, height, width, pitch, int(rng.integers(3, 25))), pitch, False


def _dome(
    y: Field, x: Field, size: float, rng: np.random.Generator
) -> tuple[Field, tuple[float, float]]:
    """Light over a rounded thing, and the direction of the lamp."""
    angle = rng.uniform(0, 2 * math.pi)
    lamp = (math.sin(angle), math.cos(angle))
    r = np.hypot(y, x) / (size / 2)
    fan = (y * lamp[0] + x * lamp[1]) / (size / 2)
    light = 1 - 0.3 * smoothstep(0.6, 1.0, r) + np.float32(rng.uniform(0.05, 0.3)) * fan
    return light.astype(np.float32), lamp


def tablets(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Tablets or sweets, all alike."""
    centers, pitch, _ = _arranged(rng, height, width)
    size = pitch * rng.uniform(0.6, 0.85)
    oblong = rng.uniform(0.55, 0.8) if rng.random() < 0.3 else 1.0
    y, x = shapes.sheet(size, size, 4)
    distance = shapes.box(y, x, size * oblong, size, size * oblong / 2)
    light, lamp = _dome(y / np.float32(oblong), x, size, rng)
    coat = color(rng, saturation=(0.0, 0.85), value=(0.5, 0.98))
    if rng.random() < 0.4:
        light = light - 0.25 * smoothstep(0.05, 0.01, np.abs(x) / size) * (np.abs(y) < 0.35 * size)
    body = shade(coat, light.astype(np.float32))
    if rng.random() < 0.4 and size > 16:
        body = stamped(body, lettering.text(size * 0.3, lettering.words(rng, 3)), coat * 0.6)
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.5, lamp, 0.06 * size), 0.3)
    stamp = Stamp(shapes.solid(distance), body, shadow)
    return _gather(backdrop(rng, height, width), centers, lambda: stamp, "tablet")


def gel_capsules(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Clear or two-colored capsules, lying any way."""
    pitch = min(height, width) * rng.uniform(0.2, 0.4)
    centers = _scattered(rng, height, width, pitch, int(rng.integers(4, 22)))
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
    return _gather(
        backdrop(rng, height, width),
        centers,
        lambda: transformed(stamp, rng.uniform(0, 360)),
        "capsule",
    )


def washers(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Flat rings of metal, rubber or plastic."""
    centers, pitch, _ = _arranged(rng, height, width, (0.2, 0.6))
    size = pitch * rng.uniform(0.65, 0.9)
    y, x = shapes.sheet(size, size, 4)
    r = np.hypot(y, x) / (size / 2)
    bore = rng.uniform(0.35, 0.7)
    light, _ = _dome(y, x, size, rng)
    light += 0.06 * np.sin(r * np.float32(rng.uniform(20, 60)))
    light += 0.25 * smoothstep(0.06, 0, np.abs(r - bore)) - 0.2 * smoothstep(0.1, 0, 1 - r)
    paint = gray(rng, 0.3, 0.85) if rng.random() < 0.7 else color(rng, value=(0.1, 0.9))
    ring = np.maximum(r - 1, bore - r) * (size / 2)
    shadow = 0.35 * shapes.solid(ring - 1, 0.35)
    stamp = Stamp(shapes.solid(ring), shade(paint, light.astype(np.float32)), shadow)
    return _gather(backdrop(rng, height, width), centers, lambda: stamp, "washer")


def gears(rng: np.random.Generator, height: int, width: int) -> Surface:
    """One or several toothed wheels with a bore and lightening holes."""
    single = rng.random() < 0.6
    unit = min(height, width)
    if single:
        centers, pitch = [(height / 2 + rng.normal(0, 3), width / 2 + rng.normal(0, 3))], 1.0 * unit
    else:
        centers, pitch, _ = _arranged(rng, height, width, (0.35, 0.6))
    size = pitch * rng.uniform(0.65, 0.88)
    y, x = shapes.sheet(size * 1.1, size * 1.1, 4)
    teeth, radius = int(rng.integers(8, 36)), size / 2
    depth = min(0.3, 5.0 / teeth * rng.uniform(0.5, 0.9))
    distance = shapes.gear(y, x, radius * 0.92, teeth, depth, rng.uniform(0, 6))
    r = np.hypot(y, x) / radius
    bore, holes = rng.uniform(0.12, 0.3), int(rng.integers(0, 7))
    distance = np.maximum(distance, (bore - r) * radius)
    light, lamp = _dome(y, x, size * 2, rng)
    hub = rng.uniform(0.35, 0.6)
    light = light - 0.25 * smoothstep(0.04, 0, np.abs(r - hub))
    light = light * np.where(r < hub, np.float32(rng.uniform(0.75, 1.2)), np.float32(1))
    if holes > 2:
        sector = 2 * math.pi / holes
        phi = np.arctan2(y, x) % sector - sector / 2
        at = (hub + 0.85) / 2 if hub < 0.5 else 0.5
        hole = np.hypot(r * np.sin(phi), r * np.cos(phi) - at) - 0.1
        distance = np.maximum(distance, -hole * radius)
    paint = gray(rng, 0.3, 0.85) if rng.random() < 0.6 else color(rng, value=(0.3, 0.98))
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, radius * 0.95, lamp, 0.07 * radius), 0.2)
    stamp = Stamp(shapes.solid(distance), shade(paint, light.astype(np.float32)), shadow)
    return _gather(backdrop(rng, height, width), centers, lambda: stamp, "gear")


def bearing(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Balls or rollers between two rings."""
    unit = min(height, width)
    size = unit * rng.uniform(0.68, 0.92)
    image = backdrop(rng, height, width)
    under = image.copy()
    y, x = shapes.sheet(size, size, 4)
    r = np.hypot(y, x) / (size / 2)
    bore, inner, outer = rng.uniform(0.25, 0.38), rng.uniform(0.48, 0.56), rng.uniform(0.76, 0.84)
    fan = np.cos(2 * np.arctan2(y, x) + np.float32(rng.uniform(0, 6)))
    light = 0.95 + np.float32(rng.uniform(0.05, 0.2)) * fan + 0.05 * np.sin(r * 90)
    for edge in (bore, inner, outer, 1.0):
        light = light - 0.35 * smoothstep(0.035, 0, np.abs(r - edge))
    steel = gray(rng, 0.45, 0.85)
    body = shade(steel, light.astype(np.float32))
    groove = smoothstep(inner - 0.01, inner + 0.01, r) * smoothstep(outer + 0.01, outer - 0.01, r)
    body = mix(body, gray(rng, 0.04, 0.2), groove)
    ring = np.maximum(r - 1, bore - r) * (size / 2)
    center = (height / 2 + rng.normal(0, 3), width / 2 + rng.normal(0, 3))
    frame = lay(
        image, Stamp(shapes.solid(ring), body, 0.35 * shapes.solid(ring - 2, 0.2)), center, ""
    )
    assert frame is not None
    region = np.zeros((height, width), np.float32)
    region[frame.box] = frame.stamp.alpha
    ball = (outer - inner) * size / 2 * 0.9
    by, bx = shapes.sheet(ball, ball)
    bulge, _ = _dome(by, bx, ball, rng)
    glint = smoothstep(0.3, 0.05, np.hypot(by / ball + 0.15, bx / ball + 0.15) * 2)
    metal = steel if rng.random() < 0.6 else color(rng, value=(0.4, 0.95))
    stamp = Stamp(
        shapes.solid(shapes.disc(by, bx, ball / 2)),
        np.clip(shade(metal, bulge) + 0.5 * glint[..., None], 0, 1),
    )
    reach = (inner + outer) / 2 * size / 2
    count = min(14, int(2 * math.pi * reach / (ball * rng.uniform(1.15, 1.6))))
    start = rng.uniform(0, 6.3)
    items = []
    for turn in start + np.arange(count) * (2 * math.pi / count):
        at = (center[0] + reach * math.sin(turn), center[1] + reach * math.cos(turn))
        item = lay(image, stamp, at, "ball")
        if item is not None:
            items.append(item)
    return Surface(image, region, under, items=tuple(items), countable=True)


def screws(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Screw heads standing in a tray, or bolts lying on a table."""
    centers, pitch, _ = _arranged(rng, height, width, (0.2, 0.4))
    ground = backdrop(rng, height, width)
    if rng.random() < 0.5:
        stamp = screw(rng, pitch * rng.uniform(0.5, 0.8), ground.mean(axis=(0, 1)))
        return _gather(ground, centers, lambda: transformed(stamp, rng.uniform(0, 360)), "screw")
    long = pitch * rng.uniform(0.75, 0.92)
    shank, head = long * rng.uniform(0.14, 0.24), long * rng.uniform(0.3, 0.45)
    y, x = shapes.sheet(head, long, 3)
    cap = shapes.box(y, x + 0.38 * long, head, 0.24 * long, 0.03 * long)
    thread = np.sin(x * np.float32(2 * math.pi / max(3.0, long * rng.uniform(0.05, 0.1))))
    rod = np.maximum(np.abs(y) - shank / 2 - 0.03 * long * thread, np.abs(x) - long / 2)
    distance = np.minimum(cap, rod)
    light = 0.5 + 0.5 * np.sqrt(np.clip(1 - (y / (head / 2)) ** 2, 0, 1))
    light = light + 0.2 * thread * (cap > 0)
    metal = gray(rng, 0.35, 0.9) if rng.random() < 0.7 else color(rng, (0.08, 0.14), (0.3, 0.7))
    stamp = Stamp(
        shapes.solid(distance),
        shade(metal, light.astype(np.float32)),
        0.4 * shapes.solid(distance - 1, 0.35),
    )
    turn = rng.uniform(0, 360)
    spread = 180 if rng.random() < 0.5 else 4
    return _gather(
        ground, centers, lambda: transformed(stamp, turn + rng.uniform(-spread, spread)), "screw"
    )


def buttons(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Buttons with two or four holes."""
    centers, pitch, _ = _arranged(rng, height, width, (0.25, 0.8))
    size = pitch * rng.uniform(0.65, 0.9)
    y, x = shapes.sheet(size, size, 4)
    r = np.hypot(y, x) / (size / 2)
    light, lamp = _dome(y, x, size, rng)
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
    return _gather(
        backdrop(rng, height, width),
        centers,
        lambda: transformed(stamp, rng.uniform(0, 360)),
        "button",
    )


def seeds(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Beans, kernels or nuts, each a little different."""
    pitch = min(height, width) * rng.uniform(0.15, 0.45)
    most = int(rng.integers(1, 30)) if pitch < 0.3 * min(height, width) else int(rng.integers(1, 6))
    centers = _scattered(rng, height, width, pitch, most)
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
        light, lamp = _dome(y, x, size, rng)
        light -= 0.35 * r * r - np.float32(rough) * fractal(rng, h, w, size * 0.15, 3)
        if lines:
            light += np.float32(rough) * np.sin((v / size) * np.float32(rng.uniform(15, 40)))
        tint = shell * rng.uniform(0.85, 1.15, 3).astype(np.float32)
        shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.46, lamp, 0.07 * size), 0.25)
        stamp = Stamp(
            shapes.solid((r - 1) * (size / 2)), shade(tint, light.astype(np.float32)), shadow
        )
        return transformed(stamp, rng.uniform(0, 360))

    return _gather(backdrop(rng, height, width), centers, draw, "seed")


def lids(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Round lids, corks, candles or coins in a tray."""
    unit = min(height, width)
    pitch = unit * rng.uniform(0.35, 0.6)
    image = backdrop(rng, height, width)
    size = pitch * rng.uniform(0.65, 0.9)
    y, x = shapes.sheet(size, size, 4)
    h, w = y.shape
    r = np.hypot(y, x) / (size / 2)
    light, lamp = _dome(y, x, size * 1.5, rng)
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
    return _gather(image, _rows(rng, height, width, pitch), lambda: stamp, "lid")


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
    light, _ = _dome(y, x, size, rng)
    pocket = shade(foil, (0.75 + 0.4 * (y + x) / size).astype(np.float32))
    coat = color(rng, saturation=(0, 0.8), value=(0.5, 1))
    pill = Stamp(shapes.solid((r - 0.85) * (size / 2)), shade(coat, light))
    centers = _rows(rng, height, width, pitch)
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
    light, lamp = _dome(y, x, size, rng)
    rim = smoothstep(0.1, 0, np.abs(np.hypot(y, x) / (size / 2) - 0.9))
    top = shade(
        paint, (light + 0.05 + 0.25 * rim * np.sign(y * lamp[0] + x * lamp[1])).astype(np.float32)
    )
    if rng.random() < 0.5 and size > 16:
        top = stamped(top, lettering.text(size * 0.28, lettering.words(rng, 3)), paint * 0.8)
    shadow = 0.4 * shapes.solid(disc_shadow(y, x, size * 0.52, lamp, 0.1 * size), 0.3)
    stamp = Stamp(shapes.solid(shapes.disc(y, x, size / 2)), np.clip(top, 0, 1), shadow)
    centers = _rows(rng, height, width, pitch)
    items = [item for center in centers[:80] if (item := lay(image, stamp, center, "stud"))]
    return Surface(image, items=tuple(items), countable=len(items) <= 16)
