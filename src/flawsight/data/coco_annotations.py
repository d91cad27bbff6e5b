"""COCO: annotations → samples; their polygons and run lengths → masks, as pycocotools has them."""

import json
import math
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError, MissingExtraError
from .dataset import Polygon, RunLengths, Sample

Mask = NDArray[np.bool_]
# pycocotools takes memory in proportion to the length of an outline.
_FARTHEST = 1e6


def read_coco(table: Path, category: str, split: str) -> list[Sample]:
    """Read a file of annotations that lies with its images.

    An image without annotations is normal. If one of its annotations has no outline, only a box,
    its defective pixels are unknown.

    Raises:
        DatasetError: if the annotations are damaged.
    """
    try:
        coco: dict[str, Any] = json.loads(table.read_text(encoding="utf-8"))
        names = {entry["id"]: entry["name"] for entry in coco["categories"]}
        annotations: dict[int, list[dict[str, Any]]] = {}
        for annotation in coco["annotations"]:
            annotations.setdefault(annotation["image_id"], []).append(annotation)
        samples = []
        if len({entry["id"] for entry in coco["images"]}) < len(coco["images"]):
            raise ValueError("two images have one id")
        for entry in coco["images"]:
            held = annotations.pop(entry["id"], [])
            polygons, runs = [_polygons(a) for a in held], [_run_lengths(a) for a in held]
            known = all(p or r for p, r in zip(polygons, runs, strict=True))
            kinds = sorted({names[annotation["category_id"]] for annotation in held})
            samples.append(
                Sample(
                    table.parent / entry["file_name"],
                    int(bool(held)),
                    category,
                    split,
                    "+".join(kinds) or "good",
                    polygons=tuple(chain.from_iterable(polygons)) if known else (),
                    run_lengths=tuple(chain.from_iterable(runs)) if known else (),
                    annotated_size=_size(entry, held) if held else None,
                )
            )
        if annotations:
            raise ValueError(f"annotations of the image {next(iter(annotations))!r}, not listed")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DatasetError(
            f"{table} is not COCO with images, annotations and categories: {error!r}"
        ) from error
    return samples


def _polygons(annotation: dict[str, Any]) -> list[Polygon]:
    outlines = annotation.get("segmentation") or []
    if not isinstance(outlines, list):
        return []
    polygons: list[Polygon] = []
    for flat in outlines:
        values = [float(value) for value in flat]
        if not all(math.isfinite(value) and abs(value) <= _FARTHEST for value in values):
            raise ValueError(f"a polygon of annotation {annotation.get('id')} is out of all bounds")
        if len(values) >= 6:
            polygons.append(tuple(zip(values[::2], values[1::2], strict=True)))
    return polygons


def _run_lengths(annotation: dict[str, Any]) -> list[RunLengths]:
    segmentation = annotation.get("segmentation")
    if not isinstance(segmentation, dict):
        return []
    counts = segmentation["counts"]
    return [counts if isinstance(counts, str) else tuple(int(count) for count in counts)]


def _size(entry: dict[str, Any], annotations: list[dict[str, Any]]) -> tuple[int, int] | None:
    """Return the (height, width) of an image's annotations; None if nothing says it."""
    own = (int(entry.get("height") or 0), int(entry.get("width") or 0))
    sizes = {own} if min(own) > 0 else set()
    segmentations = (annotation.get("segmentation") for annotation in annotations)
    for segmentation in segmentations:
        if isinstance(segmentation, dict):
            height, width = segmentation["size"]
            sizes.add((int(height), int(width)))
    if len(sizes) > 1:
        raise ValueError(f"{entry['file_name']} has the sizes {sorted(sizes)} (height, width)")
    return sizes.pop() if sizes else None


def annotated_mask(sample: Sample, size: tuple[int, int]) -> Mask:
    """Return the union of a sample's polygons and run lengths, of (height, width) `size`.

    Raises:
        DatasetError: if run lengths do not fill the image.
        MissingExtraError: if there are polygons, and pycocotools is not installed.
    """
    mask = np.zeros(size, bool)
    if sample.polygons:
        codec = polygon_codec()
        flat = [list(chain.from_iterable(polygon)) for polygon in sample.polygons]
        mask |= codec.decode(codec.merge(codec.frPyObjects(flat, *size))).astype(bool)
    for counts in sample.run_lengths:
        runs = _decompressed(counts) if isinstance(counts, str) else list(counts)
        if min(runs, default=-1) < 0 or sum(runs) != size[0] * size[1]:
            raise DatasetError(
                f"The run lengths of {sample.image} do not fill its {size[1]}×{size[0]} pixels."
            )
        values = np.arange(len(runs)) % 2 == 1
        mask |= np.repeat(values, runs).reshape(size, order="F")
    return mask


def polygon_codec() -> Any:
    """Return pycocotools' functions of masks.

    Raises:
        MissingExtraError: without pycocotools.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingExtraError("pycocotools", "bench") from error
    return mask


def _decompressed(counts: str) -> list[int]:
    """Return the run lengths of COCO's compressed text: 5 bits a character, differences of two.

    Any text is decoded; the caller checks the sum.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
