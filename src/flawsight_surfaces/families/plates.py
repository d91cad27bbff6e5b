"""A part placed on its background, and any material cut to a plate, a strip or a disc on one."""

import math

import numpy as np
from numpy.typing import NDArray

from ..drawing.draw import Draw
from ..drawing.fields import mix, shade, smoothstep
from ..drawing.shapes import box
from ..drawing.surface import Field, Surface
from .backdrop import backdrop


def place(
    draw: Draw,
    back: Field,
    body: Field,
    distance: NDArray[np.floating],
    shadow: NDArray[np.floating],
) -> Surface:
    """A part (H, W, 3) laid on its background with a soft shadow (shifted distance, in units)."""
    height, width = distance.shape
    edge = 0.8 / min(height, width)
    soft = draw.uniform(0.03, 0.1)
    dark = smoothstep(soft, -soft / 2, shadow) * np.float32(draw.uniform(0, 0.55))
    ground = shade(back, 1 - dark)
    cover = smoothstep(edge, -edge, distance)
    return Surface(mix(ground, body, cover), cover, ground)


def cut_out(draw: Draw, surface: Surface) -> Surface:
    """A surface that fills its image, cut so that one to four of its edges are in view."""
    v, u = draw.turned(draw.normal(0, 0.04))
    tall, wide = draw.height / draw.unit, draw.width / draw.unit
    kind = draw.integers(4)
    if kind == 0:  # one edge
        across, reach = (v, tall) if draw.chance(0.5) else (u, wide)
        distance = across * draw.sign() - np.float32(reach * draw.uniform(0.2, 0.45))
    elif kind == 1:  # a strip
        across, reach = (v, tall) if draw.chance(0.5) else (u, wide)
        shift = np.float32(draw.uniform(-0.06, 0.06))
        distance = np.abs(across - shift) - np.float32(reach * draw.uniform(0.25, 0.47))
    elif kind == 2:  # a plate
        h, w = tall * draw.uniform(0.6, 0.96), wide * draw.uniform(0.6, 0.96)
        distance = box(v, u, h, w, float(draw.choice([0.0, 0.02, 0.1])))
    else:  # a disc
        distance = np.hypot(v, u) - np.float32(draw.uniform(0.36, 0.49))
    # The bevelled edge is a little lighter or darker.
    bevel = smoothstep(0.02, 0.0, np.abs(distance)) * np.float32(draw.uniform(-0.5, 0.5))
    body = shade(surface.image, 1 + bevel)
    angle = draw.uniform(0, 2 * math.pi)
    away = distance - np.float32(0.02 * math.cos(angle))
    back = backdrop(draw)
    if draw.chance(0.3):  # nothing but darkness behind
        back = np.broadcast_to(draw.gray(0.0, 0.12), (*draw.shape, 3))
    return place(draw, back, np.clip(body, 0, 1), distance, away)
