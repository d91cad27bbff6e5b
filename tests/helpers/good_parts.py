"""Photos of one product, good and with a spot, quickly drawn."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def part(seed: int, spot: bool = False) -> Image.Image:
    """Return a picture of a striped surface, each with other noise, maybe with a dark spot."""
    rng = np.random.default_rng(seed)
    stripes = 140 + 60 * np.sin(np.arange(160) / 6)[None, :, None]
    pixels = stripes + rng.normal(0, 12, (120, 160, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if spot:
        ImageDraw.Draw(image).ellipse((100, 60, 120, 80), fill=(20, 10, 10))
    return image


def write_parts(folder: Path, seeds: Iterable[int], spot: bool = False) -> Path:
    """Write such pictures as PNG files, named by their seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        part(seed, spot).save(folder / f"{seed:03}.png")
    return folder
