"""Random fields and colors: what all surfaces and defects are made of.

Noise is a small random grid enlarged by bicubic interpolation: far cheaper than filtering.
"""

import colorsys
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .surface import Field, Way


class Draw:
    """A random generator and the size of the image that it draws.

    Lengths are in pixels unless said to be in units, where 1 unit = the shorter image side.
    photo: (h, w, 3) of any size, which some backgrounds and surfaces are made of; most have none.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        height: int,
        width: int,
        photo: NDArray[np.uint8] | None = None,
    ) -> None:
        self.rng, self.height, self.width, self.photo = rng, height, width, photo
        self.unit = min(height, width)
        self.tall, self.wide = height / self.unit, width / self.unit  # in units
        self.pixel = 1 / self.unit  # its size in units
        self.center = (height / 2, width / 2)
        self.shape = (height, width)
        self.uniform, self.normal, self.random = rng.uniform, rng.normal, rng.random
        self.integers, self.choice = rng.integers, rng.choice

    def sized(self, height: int, width: int) -> "Draw":
        """The same generator with another size."""
        return Draw(self.rng, height, width)

    def chance(self, share: float) -> bool:
        """True with a probability."""
        return self.random() < share

    def sign(self) -> float:
        """-1 or 1."""
        return float(self.choice([-1, 1]))

    def axis(self, spread: float = 0.0) -> float:
        """An angle in radians: 0 or a quarter turn, with a normal deviation."""
        angle = float(self.integers(2)) * math.pi / 2
        return angle + self.normal(0, spread) if spread else angle

    def turn(self) -> float:
        """An angle in radians, in half the cases along an axis as in most photos of parts."""
        if self.chance(0.5):
            return float(self.integers(4)) * math.pi / 2
        return self.uniform(0, 2 * math.pi)

    def way(self) -> Way:
        """Any direction, such as that of a lamp."""
        angle = self.uniform(0, 2 * math.pi)
        return math.sin(angle), math.cos(angle)

    def color(
        self,
        hue: tuple[float, float] = (0.0, 1.0),
        saturation: tuple[float, float] = (0.2, 0.8),
        value: tuple[float, float] = (0.2, 0.9),
    ) -> Field:
        """An RGB color (3,) from ranges of hue, saturation and value, each in [0, 1]."""
        h, s, v = self.uniform(*hue), self.uniform(*saturation), self.uniform(*value)
        return np.array(colorsys.hsv_to_rgb(h % 1.0, s, v), np.float32)

    def recolored(self, paint: Field, share: float, **ranges: tuple[float, float]) -> Field:
        """A color, or with a probability another one from ranges; see `color`."""
        return self.color(**ranges) if self.chance(share) else paint

    def gray(self, low: float, high: float, tint: float = 0.03) -> Field:
        """A nearly gray color (3,) of value low..high."""
        return (self.uniform(low, high) + self.uniform(-tint, tint, 3)).astype(np.float32)

    def axes(self) -> tuple[Field, Field]:
        """y and x of every pixel, (H, W) each, in units, 0 at the image center; read-only."""
        return _axes(self.height, self.width)

    def turned(self, angle: float) -> tuple[Field, Field]:
        """The axes turned by an angle in radians: (v, u), u along the angle."""
        y, x = self.axes()
        c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        return c * y + s * x, c * x - s * y

    def lying(self) -> tuple[Field, Field]:
        """The axes, or in half the cases x and y: (v, u), u along what lies there."""
        y, x = self.axes()
        return (y, x) if self.chance(0.5) else (x, y)

    def shifted(self, axes: tuple[Field, Field], reach: float) -> tuple[Field, Field]:
        """Axes whose origin is moved at random, in either direction by up to a reach."""
        down, right = self.uniform(-reach, reach, 2).astype(np.float32)
        return axes[0] - down, axes[1] - right

    def smooth(self, scale: float | tuple[float, float]) -> Field:
        """(H, W) noise of mean about 0, deviation about 1; scale: grain size, or (down, across)."""
        down, across = scale if isinstance(scale, tuple) else (scale, scale)
        if down <= 1 and across <= 1:
            return self.rng.standard_normal(self.shape, dtype=np.float32)
        rows, columns = self.height / max(down, 1.0), self.width / max(across, 1.0)
        size = (math.ceil(rows) + 3, math.ceil(columns) + 3)
        grid = self.rng.standard_normal(size, dtype=np.float32)
        y, x = 1 + self.random(), 1 + self.random()
        box = (x, y, x + columns, y + rows)
        large = Image.fromarray(grid).resize(self.shape[::-1], Image.Resampling.BICUBIC, box=box)
        return np.asarray(large, np.float32) * np.float32(1.25)

    def fractal(self, scale: float, octaves: int = 4, gain: float = 0.55) -> Field:
        """(H, W) noise over several scales, each half the last, of deviation about 1."""
        total = self.smooth(scale)
        weight, power = 1.0, 1.0
        for _ in range(octaves - 1):
            scale, weight = scale / 2, weight * gain
            if scale < 1:
                break
            total = total + np.float32(weight) * self.smooth(scale)
            power += weight**2
        return total / np.float32(math.sqrt(power))

    def streaks(self, length: float, thick: float, angle: float) -> Field:
        """(H, W) noise drawn out along a direction; angle in radians, 0 = horizontal."""
        side = math.ceil(math.hypot(self.height, self.width)) + 2
        field = Image.fromarray(self.sized(side, side).smooth((thick, length)))
        turned = field.rotate(math.degrees(angle), Image.Resampling.BILINEAR)
        top, left = (side - self.height) // 2, (side - self.width) // 2
        return np.asarray(turned, np.float32)[top : top + self.height, left : left + self.width]

    def cells(self, size: float, jitter: float = 0.8) -> tuple[Field, Field, Field]:
        """A jittered cell pattern: (nearest, second distance in cells, value in [0, 1))."""
        height, width = self.shape
        if size >= 6:  # large cells lose nothing at half resolution
            half = self.sized((height + 1) // 2, (width + 1) // 2).cells(size / 2, jitter)
            modes = (Image.Resampling.BILINEAR,) * 2 + (Image.Resampling.NEAREST,)
            near, second, value = (
                np.asarray(Image.fromarray(field).resize((width, height), mode), np.float32)
                for field, mode in zip(half, modes, strict=True)
            )
            return near, second, value
        rows, columns = math.ceil(height / size) + 4, math.ceil(width / size) + 4
        offsets = self.random((2, rows, columns), dtype=np.float32) - 0.5
        off_y, off_x = offsets * np.float32(jitter)
        values = self.random((rows, columns), dtype=np.float32)
        y = (np.arange(height, dtype=np.float32) / np.float32(size) + 1.5)[:, None]
        x = (np.arange(width, dtype=np.float32) / np.float32(size) + 1.5)[None, :]
        row, column = y.astype(np.intp), x.astype(np.intp)
        first = np.full(self.shape, 9, np.float32)
        later, best = first.copy(), np.zeros(self.shape, np.float32)
        for i, j in np.ndindex(3, 3):
            cell = (row + i - 1, column + j - 1)
            dy = off_y[cell] + (cell[0] - y + 0.5).astype(np.float32)
            dx = off_x[cell] + (cell[1] - x + 0.5).astype(np.float32)
            distance = dy * dy + dx * dx
            best = np.where(distance < first, values[cell], best)
            later = np.minimum(later, np.maximum(first, distance))
            first = np.minimum(first, distance)
        return np.sqrt(first), np.sqrt(later), best


@lru_cache(maxsize=8)
def _axes(height: int, width: int) -> tuple[Field, Field]:
    unit = min(height, width)
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / unit
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / unit
    full_y: Field = np.repeat(y.astype(np.float32)[:, None], width, axis=1)
    full_x: Field = np.repeat(x.astype(np.float32)[None, :], height, axis=0)
    full_y.flags.writeable = full_x.flags.writeable = False  # shared by all callers
    return full_y, full_x
