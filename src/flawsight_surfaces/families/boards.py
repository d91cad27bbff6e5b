"""Electronics: populated boards, packages, connectors and cables."""

import math
from dataclasses import replace

import numpy as np

from ..drawing import components, hardware, lettering, shapes
from ..drawing.draw import Draw
from ..drawing.fields import away, bulge, mix, near, shade, smoothstep
from ..drawing.stamps import corners, covered, grid, lay, lay_all, spread
from ..drawing.surface import Field, Item, Stamp, Surface
from .backdrop import backdrop, place
from .tracks import board_colors, draw_tracks


class _Bench:
    """A board being populated: items never overlap."""

    def __init__(self, image: Field, free: Field | None = None) -> None:
        self.image, self.items = image, list[Item]()
        self.taken = np.zeros(image.shape[:2], np.bool_) if free is None else free < 0.98

    def put(self, stamp: Stamp, center: tuple[float, float], kind: str, group: int) -> None:
        """Lay a stamp if there is room for it."""
        h, w = stamp.alpha.shape
        top, left = round(center[0] - h / 2), round(center[1] - w / 2)
        box = np.s_[max(0, top) : max(0, top + h), max(0, left) : max(0, left + w)]
        if not self.taken[box].any() and (item := lay(self.image, stamp, center, kind, group)):
            self.items.append(item)
            self.taken[box] = True


def _stamp(draw: Draw, unit: float, ground: Field) -> tuple[str, Stamp]:
    """A part for a board of a scale, and its name."""
    kind = draw.integers(6)
    size = unit * draw.uniform(0.05, 0.1)
    if kind == 0:
        return "chip", components.chip(draw, size * 2.2, size * draw.uniform(2.4, 4))
    if kind == 1:
        return "can", components.can(draw, size * draw.uniform(1.4, 2.6))
    if kind == 2:
        return "lamp", components.led(draw, size, draw.color(saturation=(0.5, 1), value=(0.6, 1)))
    if kind == 3:
        wide = size * draw.uniform(0.7, 1.6)
        return "pad", components.pad(draw, size, wide, draw.chance(0.5), ground)
    return "resistor", components.resistor(draw, size * 0.7, size * 1.5)


def _turned(stamp: Stamp) -> Stamp:
    """A stamp on its side."""
    shadow = None if stamp.shadow is None else np.rot90(stamp.shadow).copy()
    return Stamp(np.rot90(stamp.alpha).copy(), np.rot90(stamp.paint).copy(), shadow)


def _populate(draw: Draw, bench: _Bench, unit: float, rows: int, ground: Field) -> None:
    """Rows of equal components and some single ones."""
    for group in range(1, rows + 1):
        kind, stamp = _stamp(draw, unit, ground)
        stamp = _turned(stamp) if draw.chance(0.4) else stamp
        h, w = stamp.alpha.shape
        count = int(draw.integers(2, 7)) if draw.chance(0.7) else 1
        down = draw.chance(0.5)
        step = (h if down else w) * draw.uniform(1.15, 2.0)
        row, column = draw.uniform(0, draw.height), draw.uniform(0, draw.width)
        for i in range(count):
            shift = (i - (count - 1) / 2) * step
            center = (row + shift, column) if down else (row, column + shift)
            bench.put(stamp, center, kind, group)


def _bare(draw: Draw, clouds: float, ink_share: float, busy: float) -> tuple[Field, Field]:
    """The lacquer color (3,) and the image of a board without components."""
    ground, ink = board_colors(draw)
    lacquer = shade(ground, 1 + clouds * draw.smooth(draw.unit * 0.2))
    return ground, mix(lacquer, mix(ground, ink, ink_share), draw_tracks(draw, busy))


def component_board(draw: Draw) -> Surface:
    """A board full of parts, filling the image."""
    ground, image = _bare(draw, 0.02, 0.6, 0.6)
    bench = _Bench(image)
    scale = draw.unit * draw.uniform(0.7, 1.5)
    _populate(draw, bench, scale, int(draw.integers(6, 16)), ground)
    for _ in range(draw.integers(0, 5)):  # printed reference names
        name = "RCDQLU"[draw.integers(6)] + str(draw.integers(99))
        drawn = lettering.text(max(5.0, scale * 0.03), name)
        center = (draw.uniform(0, draw.height), draw.uniform(0, draw.width))
        bench.put(hardware.printed(drawn, draw.gray(0.85, 1.0)), center, "print", 99)
    return Surface(bench.image, items=tuple(bench.items))


def module_board(draw: Draw) -> Surface:
    """A small board with big and little parts, lying on a table."""
    back = backdrop(draw)
    v, u = draw.axes()
    tall, wide = draw.uniform(0.4, 0.85), draw.uniform(0.5, 0.9)
    tall, wide = tall * min(1.3, draw.tall), wide * min(1.3, draw.wide)
    distance = shapes.box(v, u, tall, wide, float(draw.choice([0.0, 0.03])))
    ground, body = _bare(draw, 0.03, 0.5, 0.4)
    surface = place(draw, back, body, distance)
    bench = _Bench(surface.image, surface.region)
    size, (row, column) = draw.unit * min(tall, wide), draw.center
    down, across = draw.unit * tall / 2 - 0.09 * size, draw.unit * wide / 2 - 0.09 * size
    bore = hardware.hole(draw, max(7.0, 0.09 * size), ground)
    for center in corners(draw, down, across):
        bench.put(bore, center, "bore", 90)
    big = components.can(draw, size * draw.uniform(0.25, 0.5))
    for j in (-1, 1) if draw.chance(0.6) else (0,):
        bench.put(big, (row, column + j * 0.26 * draw.unit * wide), "can", 91)
    pins = int(draw.integers(3, 9))
    pin = components.pin(0.1 * size, 0.035 * size, components.solder(draw))
    for i in range(pins):
        shift = (i - (pins - 1) / 2) * 0.07 * size
        bench.put(pin, (row + down, column + shift), "pin", 92)
    _populate(draw, bench, size, int(draw.integers(3, 9)), ground)
    return replace(surface, items=tuple(bench.items))


def solder_pads(draw: Draw) -> Surface:
    """Fields of bare pads or balls in exact rows."""
    ground, _ = board_colors(draw)
    image = shade(ground, 1 + 0.03 * draw.smooth(draw.unit * 0.1))
    pitch = draw.unit * draw.uniform(0.1, 0.22)
    size = pitch * draw.uniform(0.45, 0.75)
    wide = size * float(draw.choice([1.0, 0.6]))
    stamp = components.pad(draw, size, wide, draw.chance(0.6), ground)
    hollow = draw.chance(0.3)
    rows, columns = int(draw.height / pitch), int(draw.width / pitch)
    inner = [1 < i < rows - 2 and 1 < j < columns - 2 for i, j in np.ndindex(rows, columns)]
    centers = zip(spread(draw, rows, columns), inner, strict=True)
    shown = [center for center, inside in centers if not (hollow and inside)]
    items = lay_all(image, stamp, shown, "pad")[:120]
    return Surface(image, items=items, countable=len(items) <= 16)


def chip_package(draw: Draw) -> Surface:
    """A package from above with its legs, on a table."""
    image = backdrop(draw)
    under, unit = image.copy(), draw.unit
    tall, wide = draw.uniform(0.25, 0.45) * unit, draw.uniform(0.45, 0.7) * unit
    count = int(draw.integers(4, 12))
    metal, pitch = components.solder(draw), wide * 0.92 / count
    pin = components.pin(unit * draw.uniform(0.08, 0.13), pitch * 0.45, metal)
    reach = tall / 2 + 0.03 * unit
    line = grid(draw, 1, count, pitch)
    items = lay_all(image, pin, [(y + side * reach, x) for side in (-1, 1) for y, x in line], "pin")
    y, x = (axis * unit for axis in draw.axes())
    distance = shapes.box(y, x, tall, wide, 0.02 * unit)
    case = shapes.solid(distance)
    black = draw.gray(0.06, 0.28, 0.02)
    light = 1 + 0.1 * draw.smooth(unit / 60) + 0.5 * shapes.line(distance + 3, 1.5)
    dot = shapes.disc(y - 0.3 * tall, x + 0.42 * wide, 0.03 * unit)
    image = mix(mix(image, shade(black, light), case), black * 0.5, shapes.solid(dot))
    lines = [lettering.text(0.18 * tall, lettering.words(draw)) for _ in range(2)]
    for i, words in enumerate(lines):
        center = (draw.height / 2 + (i - 0.5) * 0.32 * tall, draw.width / 2)
        lay(image, hardware.printed(words, draw.gray(0.6, 0.9)), center, "text")
    # What the case covers of a leg is no part of it.
    region = np.maximum(case, covered(items, draw.shape))
    return Surface(image, region, under, items=items, countable=True)


def lamp_panel(draw: Draw) -> Surface:
    """Rows of like lamps on a board or strip."""
    ground = draw.gray(0.05, 0.95) if draw.chance(0.6) else board_colors(draw)[0]
    image = shade(ground, 1 + 0.02 * draw.smooth(draw.unit * 0.2))
    pitch = draw.unit * draw.uniform(0.16, 0.34)
    paint = draw.color(saturation=(0.1, 1), value=(0.6, 1))
    stamp = components.led(draw, pitch * draw.uniform(0.35, 0.65), paint)
    centers = spread(draw, max(1, int(draw.height / pitch)), max(1, int(draw.width / pitch)))
    items = lay_all(image, stamp, centers, "lamp")
    return Surface(image, items=items, countable=len(items) <= 16)


def solar_cell(draw: Draw) -> Surface:
    """Dark wafers with fine fingers and broad bars."""
    base = draw.color((0.58, 0.68), (0.2, 0.9), (0.12, 0.45))
    v, u = draw.turned(draw.axis())
    facets = draw.smooth(draw.unit * 0.04) * np.float32(draw.choice([0.0, 0.12]))
    image = shade(base, 1 + facets + 0.04 * draw.smooth(draw.unit * 0.4))
    silver, pixel = draw.gray(0.6, 0.9), draw.pixel
    fine = draw.uniform(0.02, 0.05)
    finger = smoothstep(1.4 * pixel, 0.5 * pixel, np.abs((v / fine) % 1 - 0.5) * fine)
    image = mix(image, silver, finger * draw.uniform(0.3, 0.7))
    wide, half = draw.uniform(0.2, 0.45), draw.uniform(0.006, 0.014)
    bar = np.abs((u / wide + draw.random()) % 1 - 0.5) * wide
    image = mix(image, silver, smoothstep(half + pixel, half, bar))
    if draw.chance(0.5):  # the gap between two wafers
        gap = smoothstep(0.016, 0.012, np.abs(v + draw.uniform(-0.3, 0.3)))
        image = mix(image, draw.gray(0.75, 0.95), gap)
    return Surface(image)


def pin_connector(draw: Draw) -> Surface:
    """A moulded housing with a row or two of contacts."""
    back = backdrop(draw)
    y, x = draw.axes()
    across = draw.width >= draw.height
    rows, count = int(draw.integers(1, 3)), int(draw.integers(3, 10))
    long, high = draw.uniform(0.6, 0.85), draw.uniform(0.16, 0.3) * rows
    v, u = (y, x) if across else (x, y)
    distance = shapes.box(v, u, high, long, float(draw.choice([0.0, 0.03])))
    paint = draw.gray(0.03, 0.95) if draw.chance(0.6) else draw.color(value=(0.2, 0.95))
    rim = smoothstep(0.02, 0.012, np.abs(distance + 0.03))
    light = 1 + 0.03 * draw.smooth(draw.unit * 0.2) - 0.35 * rim
    surface = place(draw, back, shade(paint, light), distance, 0.03)
    pitch = long * 0.88 * draw.unit / count
    size = pitch * draw.uniform(0.3, 0.55)
    metal = components.solder(draw)
    pin = components.pin(size * draw.uniform(1, 1.8), size, metal)
    centers = []
    for r, i in np.ndindex(rows, count):
        off = ((r - (rows - 1) / 2) * high / rows * draw.unit, (i - (count - 1) / 2) * pitch)
        down, right = off if across else off[::-1]
        centers.append((draw.height / 2 + down, draw.width / 2 + right))
    return replace(surface, items=lay_all(surface.image, pin, centers, "pin"), countable=True)


def cable_bundle(draw: Draw) -> Surface:
    """Insulated wires side by side, each round and of its own color."""
    back = backdrop(draw)
    v, u = draw.lying()
    v = v + draw.uniform(0, 0.06) * np.sin(u * draw.uniform(1, 4))
    count, wire = int(draw.integers(3, 10)), draw.uniform(0.05, 0.11)
    at = v / wire + (count / 2)
    number = np.clip(np.floor(at), 0, count - 1).astype(np.intp)
    alike = draw.color(saturation=(0, 0.9), value=(0.1, 0.95))
    paints = np.stack(
        [alike if draw.chance(0.4) else draw.color((0, 1), (0, 1), (0.1, 1)) for _ in range(count)]
    )
    t = (at - number - 0.5) * 2
    light = 0.4 + 0.65 * bulge(t) + 0.2 * near(t + 0.3, 0.25)
    light = light * (1 + 0.02 * draw.smooth(draw.unit * 0.1))
    body = np.clip(shade(paints[number], light), 0, 1)
    return place(draw, back, body, np.abs(v) - (count * wire / 2))


def cable_end(draw: Draw) -> Surface:
    """The cut through a cable: cores of copper in colored insulation in a round sheath."""
    back = backdrop(draw)
    v, u = draw.turned(draw.uniform(0, 6.3))
    size, r = draw.uniform(0.3, 0.44), np.hypot(v, u)
    sheath = draw.gray(0.1, 0.9) if draw.chance(0.6) else draw.color(value=(0.2, 0.9))
    body = shade(sheath, 1 + 0.05 * draw.smooth(draw.unit * 0.03))
    count = int(draw.integers(2, 6))
    core, ring = (0.42 * size, 0.46 * size) if count < 4 else (0.34 * size, 0.56 * size)
    copper = draw.color((0.04, 0.09), (0.4, 0.8), (0.5, 0.9))
    strands = shade(copper, np.clip(1 + 0.35 * draw.smooth(draw.unit * 0.02), 0.4, 1.5))
    alike = draw.chance(0.4)
    paint = draw.color(saturation=(0.3, 1), value=(0.3, 0.95))
    for i in range(count):
        if not alike:
            paint = draw.color(saturation=(0.0, 1), value=(0.2, 0.95))
        turn = 2 * math.pi * i / count
        d = away(v, u, (math.sin(turn), math.cos(turn)), ring)
        body = mix(body, paint, shapes.solid(d - core, draw.unit))
        body = mix(body, strands, shapes.solid(d - 0.6 * core, draw.unit))
    return place(draw, back, np.clip(body, 0, 1), r - size)


def transistor(draw: Draw) -> Surface:
    """A black package with a metal tab and three leads, on a table or a perforated board."""
    image = backdrop(draw)
    y, x = draw.axes()
    if draw.chance(0.6):
        ground, copper = draw.color((0.06, 0.45), (0.2, 0.7), (0.3, 0.7)), components.solder(draw)
        image = shade(ground, 1 + 0.03 * draw.smooth(draw.unit * 0.1))
        pitch = np.float32(draw.uniform(0.1, 0.16))
        r = np.hypot((y / pitch) % 1 - 0.5, (x / pitch) % 1 - 0.5) * pitch
        image = mix(image, copper, shapes.solid(r - 0.36 * pitch, draw.unit))
        image = mix(image, draw.gray(0.0, 0.1), shapes.solid(r - 0.18 * pitch, draw.unit))
    under, unit = image.copy(), draw.unit
    tall, wide = draw.uniform(0.2, 0.32) * unit, draw.uniform(0.26, 0.4) * unit
    lead = components.pin(unit * draw.uniform(0.3, 0.42), wide * 0.11, components.solder(draw))
    row, column = draw.height / 2 + draw.normal(0, 3), draw.width / 2 + draw.normal(0, 3)
    feet = [(row + 0.2 * unit, column + i * 0.3 * wide) for i in (-1, 0, 1)]
    items = lay_all(image, lead, feet, "lead")
    top = row - 0.5 * tall
    py, px = y * unit + draw.height / 2 - top, x * unit + draw.width / 2 - column
    tab = shapes.box(py + 0.55 * tall, px, 0.6 * tall, wide, 2)
    tab = np.maximum(tab, 0.12 * wide - np.hypot(py + 0.55 * tall, px))
    case = shapes.box(py - 0.1 * tall, px, tall, wide, 2)
    metal = shade(draw.gray(0.5, 0.9), 1 + 0.05 * draw.smooth(unit * 0.05))
    image = mix(image, np.clip(metal, 0, 1), shapes.solid(tab))
    black = draw.gray(0.05, 0.25, 0.02)
    light = 1 + 0.08 * draw.smooth(unit / 80) + 0.4 * shapes.line(case + 3, 2)
    image = mix(image, np.clip(shade(black, light), 0, 1), shapes.solid(case))
    words = hardware.printed(lettering.text(0.2 * tall, lettering.words(draw)), draw.gray(0.5, 0.9))
    lay(image, words, (top + 0.1 * tall, column), "text")
    whole = np.maximum(shapes.solid(np.minimum(case, tab)), covered(items, draw.shape))
    return Surface(image, whole, under, items=items, countable=True)


def wafer(draw: Draw) -> Surface:
    """A dark round slice with a lattice of equal dies."""
    back = backdrop(draw)
    v, u = draw.turned(draw.axis(0.03))
    size = draw.uniform(0.4, 0.62)
    tall, wide = draw.uniform(0.05, 0.12, 2).astype(np.float32)
    b, a = (v / tall) % 1 - 0.5, (u / wide) % 1 - 0.5
    base = draw.color((0.5, 0.8), (0.05, 0.6), (0.15, 0.6))
    light = 1 + draw.uniform(0, 0.25) * np.sin(b * draw.uniform(5, 30)) * np.sin(a * 12)
    light = light + draw.uniform(0, 0.3) * (np.abs(b - 0.15) + np.abs(a + 0.1) < 0.25)
    street = (0.5 - np.maximum(np.abs(b), np.abs(a))) * min(tall, wide)
    body = mix(shade(base, light), base * 1.6, smoothstep(1.5 * draw.pixel, 0.0, street))
    sheen = 1 + draw.uniform(0, 0.4) * (v + u) + 0.05 * draw.smooth(draw.unit * 0.4)
    return place(draw, back, np.clip(shade(body, sheen), 0, 1), np.hypot(v, u) - size)
