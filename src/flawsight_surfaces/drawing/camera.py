"""The camera: one set of light, optics and sensor settings for both images of a pair."""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import uniform_filter1d

from .draw import Draw
from .fields import LUMA, shade
from .surface import Field


@dataclass(frozen=True)
class Camera:
    """Lengths in pixels; the image range is 0..1.

    light: (H, W, 3) gain of lamp, lens and white balance; curve: (1024,) of the tones.
    grain: deviation of the sensor noise, in cells of `cell` pixels; fresh: the images of a pair
    differ in it, as two photos do; levels: gray levels, 0 all.
    """

    light: Field
    curve: Field
    monochrome: bool = False
    saturation: float = 1.0
    binary: bool = False
    blur: float = 0.0
    motion: tuple[int, int] = (1, 0)  # length and axis
    reduced: float = 1.0  # how many times smaller the sensor is than the image
    grain: float = 0.0
    cell: float = 1.0
    colored: bool = False
    fresh: bool = False
    shot: bool = False  # the noise is stronger where it is bright, as that of photons
    sharpened: int = 0  # percent, as phones and industrial cameras do
    levels: int = 0
    jpeg_quality: int | None = None

    def expose(self, image: NDArray[np.uint8]) -> Field:
        """The light that the sensor records from a surface as seen, both (H, W, 3)."""
        picture = Image.fromarray(image)
        if self.blur:
            # A box of the same variance: at these widths it looks alike and is much faster.
            box = (math.sqrt(12 * self.blur**2 + 1) - 1) / 2
            picture = picture.filter(ImageFilter.BoxBlur(box))
        if self.reduced > 1:
            small = (max(8, round(side / self.reduced)) for side in picture.size)
            picture = picture.resize((next(small), next(small)), Image.Resampling.BOX)
            picture = picture.resize(image.shape[1::-1], Image.Resampling.BICUBIC)
        lit: Field = np.array(picture, np.float32)
        if self.motion[0] > 1:
            lit[...] = uniform_filter1d(lit, self.motion[0], axis=self.motion[1], mode="nearest")
        lit = lit * self.light
        if self.monochrome:
            lit = np.repeat((lit @ LUMA)[..., None], 3, axis=2)
        elif self.saturation != 1:
            gray = (lit @ LUMA)[..., None]
            lit = (gray + (lit - gray) * self.saturation).astype(np.float32)
        exposed: Field = self.curve[np.clip(lit, 0, 1023).astype(np.intp)]
        return exposed

    def threshold(self, exposed: Field) -> float:
        """The lightness between the dark and the bright of an image."""
        luma = exposed[::2, ::2, 0]
        return float(np.percentile(luma, 4) + np.percentile(luma, 96)) / 2

    def develop(self, rng: np.random.Generator, exposed: Field) -> NDArray[np.uint8]:
        """Sensor and file for an exposed image (H, W, 3) in [0, 1]."""
        light = exposed[..., :1] if self.monochrome else exposed
        values: Field = light * np.float32(255)
        if self.grain:
            # Gray grain is shared by the channels as in a monochrome sensor or after denoising.
            planes = 3 if self.colored and not self.monochrome else 1
            draw = Draw(rng, *exposed.shape[:2])
            grain = np.stack([draw.smooth(self.cell) for _ in range(planes)], axis=2)
            if self.shot:
                grain *= np.sqrt(light.mean(axis=2, keepdims=True)) * np.float32(1.4)
            values = values + grain * np.float32(255 * self.grain)
        if self.levels:
            step = np.float32(255 / (self.levels - 1))
            values = np.round(values / step) * step
        pixels: NDArray[np.uint8] = np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8)
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        if self.sharpened:
            unsharp = ImageFilter.UnsharpMask(1.2, self.sharpened, 0)
            pixels = np.asarray(Image.fromarray(pixels).filter(unsharp))
        if self.jpeg_quality is not None:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=self.jpeg_quality)
            return np.array(Image.open(file).convert("RGB"))
        return pixels


def _lamp(draw: Draw, harsh: float) -> Field:
    """(H, W) light of one lamp through one lens; harsh in [0, 1]."""
    y, x = draw.axes()
    reach = np.float32(max(draw.shape) / draw.unit)  # long images are lit over their length
    angle, slope = draw.uniform(0, 2 * math.pi), draw.uniform(0, 0.35 + 0.4 * harsh)
    v = (np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y) / reach
    light = 1 + np.float32(slope) * v
    r = (x * x + y * y) / (reach * reach)
    light -= np.float32(draw.uniform(0, 0.3)) * r
    if draw.chance(0.3 * harsh):  # strong vignetting
        light *= 1 - np.float32(draw.uniform(0.3, 0.9)) * np.clip(r / 0.4, 0, 1)
    if draw.chance(0.3 * harsh):  # a bar lamp or a spot
        bar = np.exp(-(((v - draw.uniform(-0.3, 0.3)) / draw.uniform(0.15, 0.5)) ** 2))
        light *= np.float32(draw.uniform(0.3, 0.8)) + np.float32(draw.uniform(0.4, 0.9)) * bar
    light += np.float32(draw.uniform(0, 0.06)) * draw.smooth(draw.unit * 0.7)
    return np.asarray(np.clip(light, 0.12, 1.8), np.float32)


def _curve(draw: Draw, harsh: float) -> Field:
    """(1024,) of the tones recorded for light of 0..1023, of which 255 is white."""
    t = np.arange(1024, dtype=np.float32) / 255
    exposure = draw.uniform(0.8, 1.15)
    if draw.chance(0.35 * harsh):
        exposure = math.exp(draw.uniform(math.log(0.28), math.log(1.6)))
    t = np.clip(t * np.float32(exposure), 0, 1) ** np.float32(
        math.exp(draw.normal(0, 0.25 * harsh))
    )
    contrast = np.float32(1 + harsh * draw.uniform(-0.4, 0.5))
    middle = np.float32(draw.uniform(0.35, 0.6))
    return np.asarray(np.clip(middle + (t - middle) * contrast, 0, 1), np.float32)


def draw_camera(draw: Draw, difficulty: float, binary: bool = False) -> Camera:
    """A random camera, cleaner at low difficulty; binary: a scanner of boards."""
    harsh = difficulty * float(draw.random() < 0.45)

    balance = 1 + draw.uniform(-0.05, 0.05, 3).astype(np.float32)
    if draw.chance(0.35 * difficulty):  # warm or cold light that nobody has corrected
        balance *= 1 + np.float32(draw.uniform(-0.25, 0.25)) * np.array([1, 0.1, -1], np.float32)
    if draw.chance(0.15 * difficulty):  # the green or pink of some lamps
        balance *= 1 + np.float32(draw.uniform(-0.12, 0.12)) * np.array([-1, 1, -1], np.float32)
    light = _lamp(draw, harsh)
    curve = _curve(draw, harsh)
    if binary:
        return Camera(
            np.ones((*draw.shape, 3), np.float32),
            np.clip(np.arange(1024, dtype=np.float32) / 255, 0, 1),
            monochrome=True,
            binary=True,
            blur=float(draw.uniform(0, 0.8)),
        )
    reduced = draw.uniform(1.2, 2.2) if draw.chance(0.2 * difficulty) else 1.0
    blur = draw.unit / 192 * draw.uniform(0, 0.9) * draw.chance(0.6)
    if draw.chance(0.12 * difficulty):
        blur = draw.unit / 192 * draw.uniform(0.9, 2.0)
    motion = int(draw.unit / 192 * draw.integers(3, 8)) if draw.chance(0.1 * difficulty) else 1
    noisiest = 0.07 if draw.chance(0.12) else 0.035
    return Camera(
        shade(balance, light),
        curve,
        monochrome=draw.chance(0.25),
        saturation=float(draw.uniform(0.4, 1.3)) if draw.chance(0.4) else 1.0,
        blur=float(blur),
        motion=(motion, int(draw.integers(2))),
        reduced=float(reduced),
        grain=float(difficulty * draw.uniform(0, noisiest) * draw.chance(0.7)),
        cell=float(reduced if reduced > 1 else draw.choice([1.0, 1.0, 1.6])),
        colored=draw.chance(0.4),
        fresh=draw.chance(0.5),
        shot=draw.chance(0.5),
        sharpened=int(draw.integers(40, 160)) if draw.chance(0.2 * difficulty) else 0,
        levels=int(draw.integers(14, 40)) if draw.chance(0.05 * difficulty) else 0,
        jpeg_quality=int(draw.integers(40, 96))
        if draw.chance(0.3 * min(1.0, 2 * difficulty))
        else None,
    )
