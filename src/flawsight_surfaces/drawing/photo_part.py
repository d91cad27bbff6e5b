"""Parts of a real photo as surfaces and backgrounds."""

import numpy as np
from PIL import Image

from .draw import Draw
from .surface import Field


def photo_part(draw: Draw, least: float, most: float = 1.0) -> Field:
    """A random part (H, W, 3) in [0, 1] of the photo of `draw`, mirrored at random.

    least, most: its size as a share of the largest part that has the aspect of the image.
    """
    photo = draw.photo
    assert photo is not None
    rows, columns = photo.shape[:2]
    reach = min(rows / draw.height, columns / draw.width) * draw.uniform(least, most)
    tall, wide = draw.height * reach, draw.width * reach
    top, left = draw.uniform(0, rows - tall), draw.uniform(0, columns - wide)
    box = (left, top, left + wide, top + tall)
    size = (draw.width, draw.height)
    part = Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(part, np.float32) * np.float32(1 / 255)
    return pixels[:, ::-1] if draw.chance(0.5) else pixels
