"""One PNG per image, white where its map is above the threshold."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..io.files import portable_name
from ..real.regions import Mask, mask_of
from .export_regions import pixel_threshold
from .items import Item, Source


class MasksWriter:
    """A folder with the same tree as the photos: a/part.jpg → a/part.jpg.png."""

    def __init__(self, out: Path, source: Source, map_threshold: float | None) -> None:
        self._out, self._threshold = out, pixel_threshold(map_threshold)
        out.mkdir()

    def add(self, item: Item) -> None:
        """Write the mask of an image."""
        save_mask(
            mask_of(item.anomaly_map(), self._threshold),
            self._out / portable_name(item.name, ".png"),
        )

    def finish(self) -> None:
        """Nothing is left to write."""


def save_mask(mask: Mask, path: Path) -> None:
    """Write a mask (height, width) as an 8-bit grey PNG of 0 and 255; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
