"""anomalib's Folder: photos sorted by verdict, with masks of the abnormal ones."""

from pathlib import Path

from ..errors import ExportError
from ..io.files import slug
from ..real.regions import mask_of
from ..runs.read import bit_depth_of, read_description
from .export_regions import pixel_threshold
from .items import Item, Source
from .mask_images import save_mask
from .photo_copies import copy_upright

# The suffixes that anomalib's Folder reads.
SUFFIXES = {".jpg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}


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
            copy_upright(photo, self._out / "normal" / stem, self._bit_depth, SUFFIXES)
            return
        mask = mask_of(item.anomaly_map(), self._threshold)
        copy_upright(photo, self._out / "abnormal" / stem, self._bit_depth, SUFFIXES)
        save_mask(mask, self._out / "masks" / f"{stem}.png")

    def finish(self) -> None:
        """Nothing is left to write."""
