"""FiftyOne: a folder for `Dataset.from_dir` with verdicts, heat maps and masks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..io.files import slug
from ..real.regions import mask_of
from .export_regions import pixel_threshold
from .items import Item, Source
from .mask_images import save_mask


class FiftyOneWriter:
    """samples.json, metadata.json and the images of two fields; photos are not copied.

    The JSON has the format of FiftyOne before 0.8, which its importer still converts. The later
    format depends on the layout of its database; this one does not.
    """

    def __init__(self, out: Path, source: Source, map_threshold: float | None) -> None:
        self._out, self._threshold = out, pixel_threshold(map_threshold)
        self._samples: list[dict[str, Any]] = []
        (out / "fields/heatmap").mkdir(parents=True)

    def add(self, item: Item) -> None:
        """Add a sample: prediction (Classification), heatmap and mask (Segmentation)."""
        sample: dict[str, Any] = {
            "filepath": str(item.existing_photo()),
            "tags": [],
            "pred_score": item.pred_score,
            "explanation": item.explanation,
            "contradiction": item.row.get("contradiction"),
            "disagreements": item.disagreements,
        }
        if item.pred_label is not None:
            label = "defective" if item.pred_label else "good"
            # pred_score rises with a defect; a Classification's confidence would be of its label.
            sample["prediction"] = {"_cls": "Classification", "label": label}
        if item.has_map:
            anomaly_map = item.anomaly_map()
            file = f"{slug(item.image)}.png"
            heatmap, mask = f"fields/heatmap/{file}", f"fields/mask/{file}"
            # One scale for all images: other detectors' values outside [0, 1] are clipped.
            grey = (anomaly_map.clip(0, 1) * 255).round().astype(np.uint8)
            Image.fromarray(grey).save(self._out / heatmap)
            save_mask(mask_of(anomaly_map, self._threshold), self._out / mask)
            sample["heatmap"] = {"_cls": "Heatmap", "map_path": heatmap}
            sample["mask"] = {"_cls": "Segmentation", "mask_path": mask}
        self._samples.append(sample)

    def finish(self) -> None:
        """Write the two JSON files."""
        about = {
            "media_type": "image",
            "info": {
                "classes": {"prediction": ["good", "defective"]},
                "mask_targets": {"mask": {"255": "defect"}},
                "map_threshold": self._threshold,
            },
        }
        samples = {"samples": self._samples}
        for name, content in (("metadata.json", about), ("samples.json", samples)):
            (self._out / name).write_text(json.dumps(content), encoding="utf-8")
