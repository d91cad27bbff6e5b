"""The view of the camera: a surface turned, tilted and cropped, without any border."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .surface import Field, Mask

Box = tuple[slice, slice]  # rows and columns of an image


def bounds(mask: Mask) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a non-empty mask (H, W), ends excluded."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def window(mask: Mask, margin: int = 0) -> tuple[slice, slice]:
    """The part of an image that holds a non-empty mask (H, W), with a margin in pixels."""
    top, left, bottom, right = bounds(mask)
    rows = slice(max(0, top - margin), bottom + margin)
    return rows, slice(max(0, left - margin), right + margin)


@dataclass(frozen=True)
class View:
    """The part of a surface of size `canvas` that an image of size `size` shows.

    coefficients: of the projective map from image to surface, x = (a·u + b·v + c) / (g·u + h·v + 1)
    and y likewise with d, e, f; None: the surface as it is.
    """

    size: tuple[int, int]
    canvas: tuple[int, int]
    coefficients: tuple[float, ...] | None = None
    corners: tuple[tuple[float, float], ...] = ()  # (x, y) of what is shown, on the canvas

    def shown(self) -> Mask | None:
        """(h, w) what of the surface is in the image but its very rim, None: all."""
        if self.coefficients is None:
            return None
        middle = np.mean(self.corners, axis=0)
        inner = (np.array(self.corners) - middle) * 0.94 + middle
        plane = Image.new("1", self.canvas[::-1])
        ImageDraw.Draw(plane).polygon([tuple(corner) for corner in inner.tolist()], fill=1)
        return np.asarray(plane)

    def _seen(
        self, pixels: NDArray[np.uint8], mode: Image.Resampling, box: Box | None = None
    ) -> NDArray[np.uint8]:
        if self.coefficients is None:
            return pixels if box is None else pixels[box]
        coefficients, (height, width) = self.coefficients, self.size
        if box is not None:
            top, bottom, _ = box[0].indices(height)
            left, right, _ = box[1].indices(width)
            height, width = bottom - top, right - left
            matrix = np.reshape([*coefficients, 1.0], (3, 3))
            matrix = matrix @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
            coefficients = tuple((matrix / matrix[2, 2]).ravel()[:8].tolist())
        size, how = (width, height), Image.Transform.PERSPECTIVE
        return np.asarray(Image.fromarray(pixels).transform(size, how, coefficients, mode))

    def image(self, surface: Field, box: Box | None = None) -> NDArray[np.uint8]:
        """An RGB surface (h, w, 3) in [0, 1] as seen, (H, W, 3) in 0..255, or a box of that."""
        if self.coefficients is None and box is not None:
            surface, box = surface[box], None
        pixels = (surface * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        return self._seen(pixels, Image.Resampling.BICUBIC, box)

    def field(self, field: Field) -> Field:
        """A field (h, w) in [0, 1] as seen, (H, W)."""
        if self.coefficients is None:
            return field
        pixels = (field * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        return self._seen(pixels, Image.Resampling.BILINEAR) * np.float32(1 / 255)

    def labels(self, numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Whole numbers (h, w) as seen, (H, W)."""
        return self._seen(numbers, Image.Resampling.NEAREST)


def draw_view(rng: np.random.Generator, height: int, width: int, difficulty: float) -> View:
    """A view straight from above, turned, stretched or in perspective."""
    size = (height, width)
    if rng.random() > 0.25 + 0.35 * difficulty:
        return View(size, size)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    angle = rng.normal(0, 0.03) if rng.random() < 0.5 else rng.uniform(-0.25, 0.25)
    c, s = math.cos(angle), math.sin(angle)
    shape = np.array([[c, -s], [s, c]])
    if rng.random() < 0.4:
        shape = shape @ np.array([[1, rng.normal(0, 0.08)], [rng.normal(0, 0.05), 1]])
    quad = corners @ shape.T * rng.uniform(0.85, 1.2)
    if rng.random() < 0.5:
        quad = quad * (1 + rng.uniform(-0.1, 0.1, (4, 1)))
    quad -= quad.min(axis=0) - 1.5
    across, down = (math.ceil(side) + 2 for side in quad.max(axis=0))
    # Four pairs of corners fix the eight coefficients.
    rows, values = [], []
    for (u, v), (x, y) in zip(corners + np.array([width / 2, height / 2]), quad, strict=True):
        rows += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        values += [x, y]
    found = np.linalg.solve(np.array(rows), np.array(values))
    outline = tuple((float(x), float(y)) for x, y in quad)
    return View(size, (down, across), tuple(found.tolist()), outline)
