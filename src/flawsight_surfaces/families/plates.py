"""A part placed on its background, and any material cut to a plate, a strip or a disc on one."""

import math

import numpy as np

from ..drawing.draw import Draw
from ..drawing.fields import mix, near, shade, smoothstep
from ..drawing.shapes import box
from ..drawing.surface import Field, Floats, Surface
from .backdrop import backdrop


def place(draw: Draw, back: Field, body: Field, distance: Floats, shadow: Floats) -> Surface:
    """A part (H, W, 3) laid on its background with a soft shadow (shifted distance, in units)."""
    soft = draw.uniform(0.03, 0.1)
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
    return place(draw, back, body, distance, away)
