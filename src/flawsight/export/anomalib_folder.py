"""anomalib's Folder: photos sorted by verdict, with masks of the abnormal ones."""

import shutil
from pathlib import Path

from PIL import ExifTags, Image

from ..errors import ExportError
from ..io.files import slug
from ..io.images import read_image
from ..real.regions import mask_of
from ..runs.read import bit_depth_of, read_description
from .export_regions import pixel_threshold
from .items import Item, Source
from .mask_images import save_mask

# The suffixes that anomalib's Folder reads.
SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}


class AnomalibWriter:
    """normal/, abnormal/ and masks/; Folder pairs abnormal/ and masks/ by the order of names."""

    def __init__(self, out: Path, source: Source, map_threshold: float | None) -> None:
        self._out, self._threshold = out, pixel_threshold(map_threshold)
        self._bit_depth = bit_depth_of(read_description(source.items[0].run))
        for name in ("normal", "abnormal", "masks"):
            (out / name).mkdir(parents=True)

    def add(self, item: Item) -> None:
        """Copy a photo, and write its mask if its verdict is defective."""
        photo = item.existing_photo()
        if item.pred_label is None:
            raise ExportError("It has no verdict to sort its photo by; use --to masks.")
        stem = slug(item.image)
        if not item.pred_label:
            _copy(photo, self._out / "normal", stem, self._bit_depth)
            return
        mask = mask_of(item.anomaly_map(), self._threshold)
        _copy(photo, self._out / "abnormal", stem, self._bit_depth)
        save_mask(mask, self._out / "masks" / f"{stem}.png")

    def finish(self) -> None:
        """Nothing is left to write."""


def _copy(photo: Path, folder: Path, stem: str, bit_depth: int | None) -> None:
    """Copy a photo, or write it upright as a PNG: anomalib ignores EXIF orientation.

    Raises:
        ImageError: if it cannot be read.
    """
    upright = read_image(photo, bit_depth)
    with Image.open(photo) as file:
        turned = file.getexif().get(ExifTags.Base.Orientation, 1) != 1
    if turned or photo.suffix.lower() not in SUFFIXES:
        upright.save(folder / f"{stem}.png")
    else:
        shutil.copyfile(photo, folder / f"{stem}{photo.suffix.lower()}")
