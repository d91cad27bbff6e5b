"""Real photos as surfaces, of which nothing is known but their pixels."""

import numpy as np

from ..drawing.draw import Draw
from ..drawing.photo_part import photo_part
from ..drawing.surface import Surface


def photographed_scene(draw: Draw) -> Surface:
    """Most of a photo; its whole is the object, so that it is never cut out."""
    return Surface(photo_part(draw, 0.7), np.ones(draw.shape, np.float32))


def photographed_surface(draw: Draw) -> Surface:
    """A small part of a photo, enlarged."""
    return Surface(photo_part(draw, 0.3, 0.7))
