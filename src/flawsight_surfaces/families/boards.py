"""Populated boards and packages: electronics made of like parts."""

import math

import numpy as np

from ..drawing import components, hardware, lettering, shapes
from ..drawing.noise import axes, color, gray, mix, shade, smooth, smoothstep, turned
from ..drawing.stamps import lay
from ..drawing.surface import Field, Item, Stamp, Surface
from .backdrop import backdrop
from .plates import place
from .tracks import board_colors, draw_tracks


class _Bench:
    """A board being populated: items never overlap."""

    def __init__(self, image: Field, free: Field | None = None) -> None:
        self.image, self.items = image, list[Item]()
        self.taken = np.zeros(image.shape[:2], np.bool_) if free is None else free < 0.98

    def put(self, stamp: Stamp, center: tuple[float, float], kind: str, group: int) -> bool:
        """Lay a stamp where there is room for it."""
        h, w = stamp.alpha.shape
        top, left = round(center[0] - h / 2), round(center[1] - w / 2)
        box = np.s_[max(0, top) : top + h, max(0, left) : left + w]
        if top + h <= 0 or left + w <= 0 or self.taken[box].any():
            return False
        item = lay(self.image, stamp, center, kind, group)
        if item is None:
            return False
        self.items.append(item)
        self.taken[box] = True
        return True


def _stamp(rng: np.random.Generator, unit: float, ground: Field) -> tuple[str, Stamp]:
    """A part for a board of a scale, and its name."""
    kind = rng.integers(6)
    size = unit * rng.uniform(0.05, 0.1)
    if kind == 0:
        return "chip", components.chip(rng, size * 2.2, size * rng.uniform(2.4, 4))
    if kind == 1:
        return "can", components.can(rng, size * rng.uniform(1.4, 2.6))
    if kind == 2:
        return "lamp", components.led(rng, size, color(rng, saturation=(0.5, 1), value=(0.6, 1)))
    if kind == 3:
        return "pad", components.pad(
            rng, size, size * rng.uniform(0.7, 1.6), rng.random() < 0.5, ground
        )
    return "resistor", components.resistor(rng, size * 0.7, size * 1.5)


def _turned(stamp: Stamp) -> Stamp:
    """A stamp on its side."""
    shadow = None if stamp.shadow is None else np.rot90(stamp.shadow).copy()
    return Stamp(np.rot90(stamp.alpha).copy(), np.rot90(stamp.paint).copy(), shadow)


def _populate(
    rng: np.random.Generator, bench: _Bench, unit: float, rows: int, ground: Field
) -> None:
    """Rows of like parts and some single ones."""
    height, width = bench.image.shape[:2]
    for group in range(1, rows + 1):
        kind, stamp = _stamp(rng, unit, ground)
        stamp = _turned(stamp) if rng.random() < 0.4 else stamp
        h, w = stamp.alpha.shape
        count = int(rng.integers(2, 7)) if rng.random() < 0.7 else 1
        down = rng.random() < 0.5
        step = (h if down else w) * rng.uniform(1.15, 2.0)
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        for i in range(count):
            shift = (i - (count - 1) / 2) * step
            center = (row + shift, column) if down else (row, column + shift)
            bench.put(stamp, center, kind, group)


def component_board(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A board full of parts, filling the image."""
    unit = min(height, width)
    ground, ink = board_colors(rng)
    image = mix(
        shade(ground, 1 + 0.02 * smooth(rng, height, width, unit * 0.2)),
        mix(ground, ink, 0.6),
        draw_tracks(rng, height, width, 0.6),
    )
    bench = _Bench(image)
    scale = unit * rng.uniform(0.7, 1.5)
    _populate(rng, bench, scale, int(rng.integers(6, 16)), ground)
    for _ in range(rng.integers(0, 5)):  # printed reference names
        name = lettering.text(
            max(5.0, scale * 0.03), "RCDQLU"[rng.integers(6)] + str(rng.integers(99))
        )
        center = (rng.uniform(0, height), rng.uniform(0, width))
        bench.put(hardware.printed(name, gray(rng, 0.85, 1.0)), center, "print", 99)
    return Surface(bench.image, items=tuple(bench.items))


def module_board(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A small board with big and little parts, lying on a table."""
    unit = min(height, width)
    back = backdrop(rng, height, width)
    v, u = axes(height, width)
    tall, wide = rng.uniform(0.4, 0.85), rng.uniform(0.5, 0.9)
    tall, wide = tall * min(1.3, height / unit), wide * min(1.3, width / unit)
    distance = shapes.box(v, u, tall, wide, float(rng.choice([0.0, 0.03])))
    ground, ink = board_colors(rng)
    body = mix(
        shade(ground, 1 + 0.03 * smooth(rng, height, width, unit * 0.2)),
        mix(ground, ink, 0.5),
        draw_tracks(rng, height, width, 0.4),
    )
    surface = place(rng, back, body, distance, distance - 0.02)
    assert surface.region is not None
    bench = _Bench(surface.image, surface.region)
    size = unit * min(tall, wide)
    inset = 0.09 * size
    bore = hardware.hole(rng, max(7.0, 0.09 * size), ground)
    for i in (-1, 1):
        for j in (-1, 1):
            center = (
                height / 2 + i * (unit * tall / 2 - inset),
                width / 2 + j * (unit * wide / 2 - inset),
            )
            bench.put(bore, center, "bore", 90)
    big = components.can(rng, size * rng.uniform(0.25, 0.5))
    for j in (-1, 1) if rng.random() < 0.6 else (0,):
        bench.put(big, (height / 2, width / 2 + j * 0.26 * unit * wide), "can", 91)
    pins = int(rng.integers(3, 9))
    pin = components.pin(rng, 0.1 * size, 0.035 * size, components.solder(rng))
    for i in range(pins):
        shift = (i - (pins - 1) / 2) * 0.07 * size
        bench.put(pin, (height / 2 + unit * tall / 2 - 0.09 * size, width / 2 + shift), "pin", 92)
    _populate(rng, bench, size, int(rng.integers(3, 9)), ground)
    return Surface(bench.image, surface.region, surface.under, items=tuple(bench.items))


def solder_pads(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Fields of bare pads or balls in exact rows."""
    unit = min(height, width)
    ground, _ = board_colors(rng)
    image = shade(ground, 1 + 0.03 * smooth(rng, height, width, unit * 0.1))
    pitch = unit * rng.uniform(0.1, 0.22)
    size = pitch * rng.uniform(0.45, 0.75)
    stamp = components.pad(
        rng, size, size * float(rng.choice([1.0, 0.6])), rng.random() < 0.6, ground
    )
    hollow = rng.random() < 0.3
    rows, columns = int(height / pitch), int(width / pitch)
    items: list[Item] = []
    for i in range(rows):
        for j in range(columns):
            if hollow and 1 < i < rows - 2 and 1 < j < columns - 2:
                continue
            row, column = (i + 0.5) * height / rows, (j + 0.5) * width / columns
            item = lay(image, stamp, (row, column), "pad")
            if item is not None and len(items) < 120:
                items.append(item)
    return Surface(image, items=tuple(items), countable=len(items) <= 16)


def chip_package(rng: np.random.Generator, height: int, width: int) -> Surface:
    """A package from above with its legs, on a table."""
    unit = min(height, width)
    image = backdrop(rng, height, width)
    under = image.copy()
    tall, wide = rng.uniform(0.25, 0.45) * unit, rng.uniform(0.45, 0.7) * unit
    count = int(rng.integers(4, 12))
    metal, pitch = components.solder(rng), wide * 0.92 / count
    pin = components.pin(rng, unit * rng.uniform(0.08, 0.13), pitch * 0.45, metal)
    items: list[Item] = []
    for side in (-1, 1):
        for i in range(count):
            center = (
                height / 2 + side * (tall / 2 + 0.03 * unit),
                width / 2 + (i - (count - 1) / 2) * pitch,
            )
            item = lay(image, pin, center, "pin")
            if item is not None:
                items.append(item)
    y, x = axes(height, width)
    distance = shapes.box(y * unit, x * unit, tall, wide, 0.02 * unit)
    case = shapes.solid(distance)
    black = gray(rng, 0.06, 0.28, 0.02)
    light = 1 + 0.1 * smooth(rng, height, width, unit / 60) + 0.5 * shapes.line(distance + 3, 1.5)
    image = mix(image, shade(black, light.astype(np.float32)), case)
    dot = shapes.disc(y * unit - 0.3 * tall, x * unit + 0.42 * wide, 0.03 * unit)
    image = mix(image, black * np.float32(0.5), shapes.solid(dot))
    lines = [lettering.text(0.18 * tall, lettering.words(rng)) for _ in range(2)]
    for i, words in enumerate(lines):
        center = (height / 2 + (i - 0.5) * 0.32 * tall, width / 2)
        lay(image, hardware.printed(words, gray(rng, 0.6, 0.9)), center, "text")
    region = case.copy()
    for item in items:
        np.maximum(region[item.box], item.stamp.alpha, out=region[item.box])
    # What the case covers of a leg is no part of it.
    return Surface(image, region, under, items=tuple(items), countable=True)


def lamp_panel(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Rows of like lamps on a board or strip."""
    unit = min(height, width)
    ground = gray(rng, 0.05, 0.95) if rng.random() < 0.6 else board_colors(rng)[0]
    image = shade(ground, 1 + 0.02 * smooth(rng, height, width, unit * 0.2))
    pitch = unit * rng.uniform(0.16, 0.34)
    paint = color(rng, saturation=(0.1, 1), value=(0.6, 1))
    stamp = components.led(rng, pitch * rng.uniform(0.35, 0.65), paint)
    rows, columns = max(1, int(height / pitch)), max(1, int(width / pitch))
    items: list[Item] = []
    for i in range(rows):
        for j in range(columns):
            center = ((i + 0.5) * height / rows, (j + 0.5) * width / columns)
            item = lay(image, stamp, center, "lamp")
            if item is not None:
                items.append(item)
    return Surface(image, items=tuple(items), countable=len(items) <= 16)


def solar_cell(rng: np.random.Generator, height: int, width: int) -> Surface:
    """Dark wafers with fine fingers and broad bars."""
    unit = min(height, width)
    base = color(rng, (0.58, 0.68), (0.2, 0.9), (0.12, 0.45))
    v, u = turned(height, width, float(rng.integers(2)) * math.pi / 2)
    facets = smooth(rng, height, width, unit * 0.04) * np.float32(rng.choice([0.0, 0.12]))
    image = shade(base, 1 + facets + 0.04 * smooth(rng, height, width, unit * 0.4))
    silver, pixel = gray(rng, 0.6, 0.9), 1 / unit
    fine = np.float32(rng.uniform(0.02, 0.05))
    finger = smoothstep(1.4 * pixel, 0.5 * pixel, np.abs((v / fine) % 1 - 0.5) * fine)
    image = mix(image, silver, finger * np.float32(rng.uniform(0.3, 0.7)))
    wide, half = np.float32(rng.uniform(0.2, 0.45)), rng.uniform(0.006, 0.014)
    bar = np.abs((u / wide + np.float32(rng.random())) % 1 - 0.5) * wide
    image = mix(image, silver, smoothstep(half + pixel, half, bar))
    if rng.random() < 0.5:  # the gap between two wafers
        gap = np.abs((v + np.float32(rng.uniform(-0.3, 0.3))) / 1.0)
        image = mix(image, gray(rng, 0.75, 0.95), smoothstep(0.016, 0.012, gap))
    return Surface(image)
