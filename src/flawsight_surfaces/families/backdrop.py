"""What lies behind a part (tables, belts, trays, machines out of focus), and a part laid on it."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ..drawing.draw import Draw
from ..drawing.fields import mix, near, shade, smoothstep
from ..drawing.photo_part import photo_part
from ..drawing.shapes import box
from ..drawing.surface import Field, Floats, Surface
from . import textures

_TABLES = (
    textures.brushed_metal, textures.wood, textures.veneer, textures.concrete, textures.rubber,
    textures.felt, textures.paper, textures.cardboard, textures.grained_plastic,
)  # fmt: skip


def backdrop(draw: Draw) -> Field:
    """A background (H, W, 3)."""
    if draw.photo is not None and draw.chance(0.7):
        return photo_part(draw, 0.3) * np.float32(draw.uniform(0.5, 1.0))
    kind = draw.random()
    kinds = ((0.4, _even), (0.55, _table), (0.7, out_of_focus), (0.8, _belt), (0.88, _grid))
    return next((make for share, make in kinds if kind < share), _parted)(draw)


def _even(draw: Draw) -> Field:
    """An even table or light box."""
    base = draw.gray(0.02, 0.98, 0.04) if draw.chance(0.7) else draw.color(value=(0.1, 0.95))
    grain = draw.smooth(draw.unit * draw.uniform(0.005, 0.5))
    return shade(base, 1 + np.float32(draw.uniform(0, 0.06)) * grain)


def _table(draw: Draw) -> Field:
    """A texture, its contrast reduced."""
    image = _TABLES[draw.integers(len(_TABLES))](draw).image
    return mix(image, image.mean(axis=(0, 1)), draw.uniform(0, 0.6))


def _belt(draw: Draw) -> Field:
    """A conveyor between its two rails."""
    v, u = draw.lying()
    belt = draw.gray(0.03, 0.3, 0.03) if draw.chance(0.6) else draw.color(value=(0.15, 0.8))
    weave = draw.smooth((draw.unit / 40, draw.unit / 120))
    ribs = np.sin(u * np.float32(draw.uniform(20, 120))) * np.float32(draw.choice([0, 0.08]))
    image = shade(belt, 1 + 0.06 * weave + ribs)
    rail = draw.gray(0.35, 0.9) if draw.chance(0.7) else draw.color(value=(0.3, 0.9))
    reach = float(np.abs(v).max()) * draw.uniform(0.7, 1.1)
    light = 0.85 + 0.3 * np.cos((np.abs(v) - reach) * np.float32(30))
    cover = smoothstep(reach - draw.pixel, reach + draw.pixel, np.abs(v))
    return mix(image, shade(rail, light), cover)


def _grid(draw: Draw) -> Field:
    """A cutting mat, a lattice or a perforated tray."""
    base = draw.color((0.3, 0.65), (0.2, 0.7), (0.15, 0.5))
    if draw.chance(0.5):
        base = draw.gray(0.1, 0.9)
    v, u = draw.turned(draw.uniform(-0.3, 0.3))
    period = np.float32(draw.uniform(0.07, 0.25))
    b, a = (v / period) % 1 - 0.5, (u / period) % 1 - 0.5
    if draw.chance(0.5):
        line = (0.5 - np.maximum(np.abs(a), np.abs(b))) * period
        distance = line - np.float32(draw.uniform(0.002, 0.01))
    else:
        distance = (np.hypot(a, b) - draw.uniform(0.15, 0.4)) * period
    cover = smoothstep(draw.pixel, -draw.pixel, distance)
    ink = base * np.float32(draw.uniform(0.3, 0.8) if draw.chance(0.6) else draw.uniform(1.2, 1.6))
    return mix(shade(base, 1 + 0.03 * draw.smooth(draw.unit / 60)), ink, cover)


def _parted(draw: Draw) -> Field:
    """A table and what is beyond its straight edge."""
    v, _ = draw.turned(float(draw.integers(4)) * math.pi / 2 + draw.normal(0, 0.1))
    beyond = smoothstep(-draw.pixel, draw.pixel, v - np.float32(draw.uniform(-0.45, 0.45)))
    return mix(_even(draw), _even(draw), beyond)


def out_of_focus(draw: Draw) -> Field:
    """Machines, lamps and hands far behind, blurred."""
    scale = 4
    rows, columns = draw.height // scale + 2, draw.width // scale + 2
    ground = tuple(int(c * 255) for c in np.clip(draw.gray(0.1, 0.8, 0.1), 0, 1))
    picture = Image.new("RGB", (columns, rows), ground)
    pen = ImageDraw.Draw(picture)
    for _ in range(draw.integers(4, 14)):
        paint = draw.gray(0.0, 1.0, 0.05) if draw.chance(0.75) else draw.color()
        fill = tuple(int(c * 255) for c in np.clip(paint, 0, 1))
        cx, cy = draw.uniform(0, columns), draw.uniform(0, rows)
        rx, ry = draw.uniform(0.03, 0.35, 2) * min(rows, columns)
        if draw.chance(0.5):
            rx, ry = (rx, ry * 6) if draw.chance(0.5) else (rx * 6, ry)
        shape = pen.rectangle if draw.chance(0.7) else pen.ellipse
        shape((cx - rx, cy - ry, cx + rx, cy + ry), fill=fill)
    blur = min(rows, columns) * draw.uniform(0.01, 0.06)
    picture = picture.filter(ImageFilter.GaussianBlur(blur))
    large = picture.resize((draw.width, draw.height), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32) * np.float32(1 / 255)


def place(
    draw: Draw,
    back: Field,
    body: Field,
    distance: Floats,
    lift: float = 0.02,
    shadow: Floats | None = None,
) -> Surface:
    """A part (H, W, 3) laid on its background with a soft shadow.

    lift: how far the shadow reaches beyond the part in units; shadow: the distance from another.
    """
    soft = draw.uniform(0.03, 0.1)
    shadow = distance - lift if shadow is None else shadow
    dark = smoothstep(soft, -soft / 2, shadow) * np.float32(draw.uniform(0, 0.55))
    ground = shade(back, 1 - dark)
    cover = smoothstep(0.8 / draw.unit, -0.8 / draw.unit, distance)
    return Surface(mix(ground, body, cover), cover, ground)


def cut_out(draw: Draw, surface: Surface) -> Surface:
    """A surface that fills its image, cut so that one to four of its edges are in view."""
    v, u = draw.turned(draw.normal(0, 0.04))
    kind = draw.integers(4)
    if kind < 2:
        across, reach = (v, draw.tall) if draw.chance(0.5) else (u, draw.wide)
    if kind == 0:  # one edge
        distance = across * draw.sign() - np.float32(reach * draw.uniform(0.2, 0.45))
    elif kind == 1:  # a strip
        shift = np.float32(draw.uniform(-0.06, 0.06))
        distance = np.abs(across - shift) - np.float32(reach * draw.uniform(0.25, 0.47))
    elif kind == 2:  # a plate
        tall, wide = draw.tall * draw.uniform(0.6, 0.96), draw.wide * draw.uniform(0.6, 0.96)
        distance = box(v, u, tall, wide, float(draw.choice([0.0, 0.02, 0.1])))
    else:  # a disc
        distance = np.hypot(v, u) - np.float32(draw.uniform(0.36, 0.49))
    # The bevelled edge is a little lighter or darker.
    bevel = near(distance, 0.02) * np.float32(draw.uniform(-0.5, 0.5))
    body = np.clip(shade(surface.image, 1 + bevel), 0, 1)
    away = distance - np.float32(0.02 * math.cos(draw.uniform(0, 2 * math.pi)))
    back = backdrop(draw)
    if draw.chance(0.3):  # nothing but darkness behind
        back = np.broadcast_to(draw.gray(0.0, 0.12), (*draw.shape, 3))
    return place(draw, back, body, distance, shadow=away)
