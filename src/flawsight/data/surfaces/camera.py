"""The camera: one set of light, optics and sensor settings, applied alike to both twins."""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .noise import axes, shade, smooth
from .sample import Field

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Camera:
    """light: (H, W, 3) gain of lamp, lens and white balance; blur: deviation in pixels."""

    light: Field
    monochrome: bool
    blur: float
    noise: float  # standard deviation of the sensor noise, image range 0..1
    jpeg_quality: int | None

    def expose(self, image: Field, box: tuple[slice, slice] = np.s_[:, :]) -> Field:
        """The light that reaches the sensor from a surface, or from the part of it in a box.

        image: (H, W, 3) or the part only; returns the same shape, clipped to [0, 1].
        """
        lit_image = image * self.light[box]
        if self.monochrome:
            luma = np.dot(lit_image, _LUMA)
            for c in range(3):
                lit_image[..., c] = luma
        exposed: Field = np.clip(lit_image, 0, 1)
        return exposed

    def develop(self, rng: np.random.Generator, exposed: Field) -> NDArray[np.uint8]:
        """Optics, sensor and file for an exposed image (H, W, 3) in [0, 1]."""
        light = exposed[..., 0] if self.monochrome else exposed
        values: Field = light * np.float32(255)
        if self.blur:
            # A box of the same variance: at these widths it looks alike and is much faster.
            box = ImageFilter.BoxBlur((math.sqrt(12 * self.blur**2 + 1) - 1) / 2)
            picture = Image.fromarray((values + np.float32(0.5)).astype(np.uint8)).filter(box)
            values = np.array(picture, np.float32)
        if self.noise:
            # Gray grain is shared by the channels as in a monochrome sensor or after denoising.
            grain = rng.standard_normal(exposed.shape[:2], dtype=np.float32)
            grain *= np.float32(255 * self.noise)
            for plane in [values] if self.monochrome else np.moveaxis(values, 2, 0):
                plane += grain
            np.clip(values, 0, 254.5, out=values)
        pixels = (values + np.float32(0.5)).astype(np.uint8)
        if self.jpeg_quality is not None:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=self.jpeg_quality)
            return np.array(Image.open(file).convert("RGB"))
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def draw_camera(rng: np.random.Generator, height: int, width: int, difficulty: float) -> Camera:
    """A camera that is the cleaner the lower the difficulty."""
    unit = min(height, width)
    y, x = axes(height, width)
    angle, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.35)
    light = 1 + np.float32(slope * math.cos(angle)) * x + np.float32(slope * math.sin(angle)) * y
    light -= np.float32(rng.uniform(0, 0.35)) * (x * x + y * y)
    light += np.float32(rng.uniform(0, 0.05)) * smooth(rng, height, width, unit * 0.7)
    light = np.clip(light, 0.45, 1.5) * np.float32(rng.uniform(0.8, 1.12))
    balance = 1 + rng.uniform(-0.06, 0.06, 3).astype(np.float32)
    monochrome = bool(rng.random() < 0.25)
    blur = unit / 192 * rng.uniform(0, 0.9) * (rng.random() < 0.6)
    noise = difficulty * rng.uniform(0, 0.03) * (rng.random() < 0.7)
    jpeg = int(rng.integers(70, 96)) if rng.random() < 0.2 * min(1.0, 2 * difficulty) else None
    return Camera(shade(balance, light), monochrome, float(blur), float(noise), jpeg)
