"""Label Studio: one task per image, with the verdict and the regions as pre-annotations."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..data.brush_rle import encode_rle
from ..inspection import Region
from .export_regions import regions_with_phrases
from .items import Item, Source

INTERFACE = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="region" toName="image">
    <Label value="defect" background="#d2001e"/>
  </BrushLabels>
  <Choices name="verdict" toName="image" choice="single" showInline="true">
    <Choice value="good"/>
    <Choice value="defective"/>
  </Choices>
  <Text name="explanation" value="$explanation"/>
</View>
"""


class LabelStudioWriter:
    """A folder with tasks.json and interface.xml, the labelling interface of the project.

    A task gives its photo by the URL of Label Studio's local file storage. The storage root must
    be the folder above the photos' common folder. The photo's path is in it, too, by which
    `data.reviewed_tasks` finds it again.
    """

    def __init__(self, out: Path, source: Source, map_threshold: float | None) -> None:
        self._out, self._threshold = out, map_threshold
        self._folder = source.photos.name
        self._tasks: list[dict[str, Any]] = []
        out.mkdir()

    def add(self, item: Item) -> None:
        """Add a task."""
        item.check()
        results = []
        if item.pred_label is not None:
            verdict = "defective" if item.pred_label else "good"
            results.append(_result("verdict", "choices", {"choices": [verdict]}))
        if item.has_map:
            results += map(_brush, regions_with_phrases(item, self._threshold))
        numbered = [result | {"id": f"r{number}"} for number, result in enumerate(results)]
        prediction: dict[str, Any] = {"model_version": "flawsight", "result": numbered}
        if item.pred_score is not None:
            prediction["score"] = item.pred_score
        path = quote(f"{self._folder}/{item.name}", errors="surrogateescape")
        data = {
            "image": f"/data/local-files/?d={path}",
            "explanation": item.explanation,
            "photo": str(item.photo),
        }
        self._tasks.append({"data": data, "predictions": [prediction]})

    def finish(self) -> None:
        """Write the two files."""
        (self._out / "tasks.json").write_text(json.dumps(self._tasks), encoding="utf-8")
        (self._out / "interface.xml").write_text(INTERFACE, encoding="utf-8")


def _result(control: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": control, "to_name": "image", "type": kind, "value": value}


def _brush(region: Region) -> dict[str, Any]:
    height, width = region.mask.shape
    value = {"format": "rle", "rle": encode_rle(region.mask), "brushlabels": ["defect"]}
    return _result("region", "brushlabels", value) | {
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": region.score,
        "meta": {"text": [region.phrases]} if region.phrases else {},
    }
