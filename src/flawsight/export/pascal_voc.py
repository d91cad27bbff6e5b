"""Pascal VOC: photos as JPEG, boxes as XML, and masks of classes and of objects."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..inspection import Region
from ..io.files import slug
from ..runs.read import bit_depth_of, read_description
from .export_regions import regions_with_phrases
from .items import Item, Source
from .photo_copies import copy_upright

FOLDERS = ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject")
SETS = ("ImageSets/Main", "ImageSets/Segmentation")
# VOC's colours of the numbers 0 to 255: the bits of a number by turns in red, green and blue.
PALETTE = [
    sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
    for number in range(256)
    for channel in range(3)
]
# 255 is VOC's number of pixels that do not count.
_MOST_OBJECTS = 254


class VocWriter:
    """The tree of VOC2012, of which the set is called trainval."""

    def __init__(self, out: Path, source: Source, map_threshold: float | None) -> None:
        self._out, self._threshold = out, map_threshold
        self._bit_depth = bit_depth_of(read_description(source.items[0].run))
        self._names: list[str] = []
        for name in (*FOLDERS, *SETS):
            (out / name).mkdir(parents=True)

    def add(self, item: Item) -> None:
        """Copy a photo, and write its regions."""
        photo, stem = item.existing_photo(), slug(item.image)
        size = item.anomaly_map().shape
        regions = list(regions_with_phrases(item, self._threshold))
        copy_upright(photo, self._out / "JPEGImages" / stem, self._bit_depth, {".jpg"}, ".jpg")
        objects = np.zeros(size, np.uint8)
        for number, region in enumerate(regions):
            objects[region.mask] = 1 + number % _MOST_OBJECTS
        self._save("SegmentationObject", stem, objects)
        self._save("SegmentationClass", stem, (objects > 0).astype(np.uint8))
        tree = _annotation(f"{stem}.jpg", size, regions)
        tree.write(self._out / "Annotations" / f"{stem}.xml", encoding="utf-8")
        self._names.append(stem)

    def _save(self, folder: str, stem: str, numbers: NDArray[np.uint8]) -> None:
        image = Image.fromarray(numbers)
        image.putpalette(PALETTE)
        image.save(self._out / folder / f"{stem}.png")

    def finish(self) -> None:
        """Write the lists of the set."""
        for folder in SETS:
            lines = "".join(f"{name}\n" for name in self._names)
            (self._out / folder / "trainval.txt").write_text(lines, encoding="ascii")


def _annotation(
    file: str, size: tuple[int, ...], regions: Sequence[Region]
) -> "ET.ElementTree[ET.Element]":
    height, width = size
    root = ET.Element("annotation")
    _add(root, folder="JPEGImages", filename=file)
    _add(ET.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=1)
    for region in regions:
        left, top, wide, high = region.box
        found = ET.SubElement(root, "object")
        _add(found, name="defect", pose="Unspecified", truncated=0, difficult=0)
        # Pixels count from 1, the last ones included.
        box = {"xmin": left + 1, "ymin": top + 1, "xmax": left + wide, "ymax": top + high}
        _add(ET.SubElement(found, "bndbox"), **box)
    ET.indent(root)
    return ET.ElementTree(root)


def _add(parent: ET.Element, **texts: object) -> None:
    for name, text in texts.items():
        ET.SubElement(parent, name).text = str(text)
