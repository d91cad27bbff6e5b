"""COCO: images, one category, and one annotation with RLE per region."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError
from ..inspection import Region
from .export_regions import regions_with_phrases
from .items import Item, Source

CATEGORY = {"id": 1, "name": "defect"}


class CocoWriter:
    """One JSON file in COCO's instances format.

    Images have the additional fields pred_label, pred_score and explanation. Annotations have
    score, the largest value of the map in the region, and phrases, the phrases of the reasoning
    that attend to it. Coordinates are those of the upright image.

    Raises:
        MissingExtraError: without pycocotools.
    """

    def __init__(self, out: Path, source: Source, map_threshold: float | None) -> None:
        try:
            from pycocotools import mask
        except ImportError as error:
            raise MissingExtraError("pycocotools", "export") from error
        self._codec, self._out, self._threshold = mask, out, map_threshold
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, item: Item) -> None:
        """Add an image and its regions."""
        height, width = item.anomaly_map().shape
        regions = list(regions_with_phrases(item, self._threshold))
        image = len(self._images) + 1
        self._images.append(
            {
                "id": image,
                "file_name": item.name,
                "height": height,
                "width": width,
                "pred_label": item.pred_label,
                "pred_score": item.pred_score,
                "explanation": item.explanation,
            }
        )
        for region in regions:
            self._annotations.append(self._annotation(region, image))

    def _annotation(self, region: Region, image: int) -> dict[str, Any]:
        rle = self._codec.encode(np.asfortranarray(region.mask, dtype=np.uint8))
        return {
            "id": len(self._annotations) + 1,
            "image_id": image,
            "category_id": CATEGORY["id"],
            "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
            "bbox": list(region.box),
            "area": region.area,
            "iscrowd": 0,
            "score": region.score,
            "phrases": region.phrases,
        }

    def finish(self) -> None:
        """Write the file."""
        content = {
            "info": {"description": "flawsight", "map_threshold": self._threshold},
            "images": self._images,
            "categories": [CATEGORY],
            "annotations": self._annotations,
        }
        self._out.write_text(json.dumps(content), encoding="utf-8")
