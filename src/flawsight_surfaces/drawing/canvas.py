"""What a defect is drawn on: its place and size, and the basic shapes."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .draw import Draw
from .fields import LUMA, along, smoothstep
from .surface import Field, Floats, Mask, Surface


@dataclass(frozen=True)
class Layer:
    """A defect: paint (H, W, 3) or (3,) laid over the surface by alpha (H, W) in [0, 1]."""

    alpha: Field
    paint: Field


class Canvas(Draw):
    """A surface with a center (row, column) chosen for the defect and how hard it shall be.

    shown: (H, W), what of the surface the camera sees (None: all).
    """

    def __init__(
        self,
        rng: np.random.Generator,
        surface: Surface,
        center: tuple[float, float],
        difficulty: float,
        shown: Mask | None = None,
    ) -> None:
        super().__init__(rng, *surface.image.shape[:2])
        self.surface, self.image, self.center = surface, surface.image, center
        self.difficulty, self.shown = difficulty, shown

    def window(self, reach: int) -> tuple[slice, slice]:
        """The part of the surface up to so many pixels from the center."""
        row, column = (int(c) for c in self.center)
        down = slice(max(0, row - reach), row + reach + 1)
        return down, slice(max(0, column - reach), column + reach + 1)

    def nothing(self) -> Layer:
        """The layer of a defect for which there is no place."""
        return Layer(np.zeros(self.shape, np.float32), np.zeros(3, np.float32))

    def local_color(self) -> Field:
        """The mean color (3,) around the center."""
        mean: Field = self.image[self.window(max(2, self.unit // 24))].mean(axis=(0, 1))
        return mean

    def local_luma(self) -> float:
        """The mean lightness around the center, 0..1."""
        return float(self.local_color() @ LUMA)

    def contrast(self) -> float:
        """How strong the defect shall be, in 0..1."""
        return self.uniform(0.8 - 0.45 * self.difficulty, 1.0)

    def radius(self, largest: float = 0.09) -> float:
        """A radius in pixels from an area of 0.05 % (hard) or 1.2 % (easy) .. largest."""
        smallest = math.exp(
            math.log(0.012) + (math.log(0.0007) - math.log(0.012)) * self.difficulty
        )
        largest = max(largest, smallest * 1.5)
        area = math.exp(self.uniform(math.log(smallest), math.log(largest)))
        # Areas count against the unit square, so that long images get no giant defects.
        return max(1.6, self.unit * math.sqrt(area / math.pi))

    def line_width(self) -> float:
        """A line width in pixels."""
        easy = 1 - self.difficulty
        return max(1.2, self.unit / 192 * self.uniform(1.2 + 1.6 * easy, 3.2 + 2.0 * easy))

    def offsets(self) -> tuple[Field, Field]:
        """(dy, dx) in pixels from the center, as a column (H, 1) and a row (1, W)."""
        height, width = self.shape
        dy = np.arange(height, dtype=np.float32)[:, None] - np.float32(self.center[0])
        dx = np.arange(width, dtype=np.float32)[None, :] - np.float32(self.center[1])
        return dy, dx

    def blob(self, radius: float, rough: float = 0.25, stretch: float = 1.8) -> Field:
        """(H, W) distance from the center of a random blob: 0 inside, 1 on its rim, then more."""
        dy, dx = self.offsets()
        angle, ratio = self.uniform(0, math.pi), math.sqrt(self.uniform(1.0, stretch))
        c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        u = (c * dx + s * dy) / np.float32(radius * ratio)
        v = (c * dy - s * dx) / np.float32(radius / ratio)
        distance = np.sqrt(u * u + v * v)
        if rough:
            wobble = self.fractal(max(2.0, radius * 0.9), 3)
            # The rim only: noise far away would leave islands, and at the core would leave holes.
            near = np.clip(distance, 0, 1)
            distance = distance + np.float32(rough) * np.clip(wobble, -2, 2) * near
        return np.asarray(distance, np.float32)

    def spot(
        self, largest: float = 0.09, rough: float = 0.25, stretch: float = 1.8, grow: float = 1.0
    ) -> tuple[float, Field]:
        """A random radius in pixels, times `grow`, and the distances of a blob of that radius."""
        radius = self.radius(largest) * grow
        return radius, self.blob(radius, rough, stretch)

    def facets(self, radius: float, turns: Floats, low: float, high: float) -> Field:
        """(H, W) distance from the center of a random polygon: 1 on its rim.

        turns: the angles of its sides; low, high: how far they lie, in radii.
        """
        dy, dx = self.offsets()
        distance: Field = np.zeros(self.shape, np.float32)
        for turn in turns:  # the farthest of its sides
            reach = radius * self.uniform(low, high)
            side = along(dy, dx, (math.sin(turn), math.cos(turn))) / reach
            distance = np.maximum(distance, side)
        return distance

    def disc(self, distance: Floats, radius: float, soft: float = 0.0) -> Field:
        """Alpha (H, W) inside a blob, its rim soft relative to the radius, at least one pixel."""
        half = max(soft, 0.7 / radius)
        return smoothstep(1 + half, 1 - half, distance)

    def stroke(self, points: Floats, widths: Floats) -> Field:
        """Alpha (H, W) of an antialiased line through points (N, 2) = (y, x), widths (N,)."""
        height, width = self.shape
        over = 4 if self.unit <= 256 else 2
        drawing = Image.new("L", (width * over, height * over))
        pen = ImageDraw.Draw(drawing)
        ends = (points[:, ::-1] + 0.5) * over
        for start, end, thick in zip(ends[:-1], ends[1:], widths, strict=False):
            line = max(1, round(float(thick) * over))
            pen.line([tuple(start.tolist()), tuple(end.tolist())], fill=255, width=line)
            r = line / 2
            pen.ellipse([end[0] - r, end[1] - r, end[0] + r, end[1] + r], fill=255)
        alpha: Field = np.asarray(drawing.reduce(over), np.float32) * np.float32(1 / 255)
        return alpha

    def path(self, length: float, bend: float, jag: float, angle: float) -> Field:
        """(N, 2) points of a line through the center: bend in radians per length, jag likewise."""
        count = max(8, int(length / 3))
        turns = np.cumsum(self.rng.standard_normal(count)) * (bend / math.sqrt(count))
        heading = angle + turns - turns[count // 2] + self.rng.standard_normal(count) * jag
        moves = np.stack([np.sin(heading), np.cos(heading)], axis=1) * (length / count)
        points = np.cumsum(moves, axis=0)
        centered: Field = (points - points[count // 2] + np.array(self.center)).astype(np.float32)
        return centered
