"""YOLO: a folder to train Ultralytics' models on, with outlines or boxes of the regions."""

from pathlib import Path

from ..inspection import Region
from ..io.files import slug
from ..runs.read import bit_depth_of, read_description
from .export_regions import regions_with_phrases
from .items import Item, Source
from .photo_copies import copy_upright
from .region_outline import outline_of

SUFFIXES = {".bmp", ".jpg", ".png", ".tif", ".tiff", ".webp"}
ABOUT = """# Labels are flawsight's verdicts, not truth. An empty file in labels/ is a good photo.
train: images
val: images
names:
  0: defect
"""


class YoloWriter:
    """images/, labels/ and data.yaml.

    A line of a label is a region: its class, and the corners of its outline (x y …) without its
    holes, or its box (x and y of the centre, width, height), as shares of the upright photo.
    """

    def __init__(
        self, out: Path, source: Source, map_threshold: float | None, boxes: bool = False
    ) -> None:
        self._out, self._threshold, self._boxes = out, map_threshold, boxes
        self._bit_depth = bit_depth_of(read_description(source.items[0].run))
        for name in ("images", "labels"):
            (out / name).mkdir(parents=True)

    def add(self, item: Item) -> None:
        """Copy a photo, and write its regions."""
        photo, stem = item.existing_photo(), slug(item.image)
        text = "".join(self._line(one) for one in regions_with_phrases(item, self._threshold))
        copy_upright(photo, self._out / "images" / stem, self._bit_depth, SUFFIXES)
        (self._out / "labels" / f"{stem}.txt").write_text(text, encoding="ascii")

    def _line(self, region: Region) -> str:
        height, width = region.image_size
        if self._boxes:
            left, top, wide, high = region.box
            numbers = [
                (left + wide / 2) / width,
                (top + high / 2) / height,
                wide / width,
                high / height,
            ]
        else:
            numbers = [one for x, y in outline_of(region.mask) for one in (x / width, y / height)]
        return " ".join(["0", *(f"{number:.6f}" for number in numbers)]) + "\n"

    def finish(self) -> None:
        """Write data.yaml."""
        (self._out / "data.yaml").write_text(ABOUT, encoding="ascii")
