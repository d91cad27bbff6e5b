"""Facts of an image: its features, color and count, from where things are in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .drawing.geometry import View, bounds, window
from .drawing.stamps import labels
from .drawing.surface import Mask, Surface
from .sample import DefectRegion, Feature
from .words import color_word, span_words

# Marks without a place of their own.
_EVERYWHERE = (
    "shading", "dust", "crumbs", "soiling", "tool marks", "watermark", "machining lines",
    "chamfer",
)  # fmt: skip
_LEAST = 12  # pixels: less of a feature is not reported


@dataclass(frozen=True)
class Placed:
    """Where things are in the image: item numbers (H, W), marks and region as masks (H, W)."""

    surface: Surface
    numbers: NDArray[np.uint8]
    marks: tuple[tuple[str, Mask], ...]
    region: Mask | None

    @property
    def background(self) -> bool:
        """Whether more than a rim of the background is in view."""
        return self.region is not None and float(self.region.mean()) < 0.97


def locate(surface: Surface, view: View) -> Placed:
    """Find the things of a surface in the image that a view gives of it."""
    numbers = view.labels(labels(surface.items, surface.image.shape[:2]))
    marks = [(mark.kind, view.field(mark.alpha) > 0.5) for mark in surface.marks]
    region = None if surface.region is None else view.field(surface.region) > 0.5
    return Placed(surface, numbers, tuple(marks), region)


def union_of(regions: Sequence[DefectRegion], shape: tuple[int, ...]) -> Mask:
    """The mask (H, W) of all regions together."""
    union = np.zeros(shape, np.bool_)
    for region in regions:
        union |= region.mask
    return union


def is_even(placed: Placed, image: NDArray[np.uint8]) -> bool:
    """Whether one material of about one brightness fills the image (H, W, 3)."""
    surface = placed.surface
    if placed.region is not None or surface.pattern or surface.items or surface.marks:
        return False
    height, width = (side // 8 * 8 for side in image.shape[:2])
    luma = image[:height, :width].mean(axis=2)
    blocks = luma.reshape(8, height // 8, 8, width // 8).mean(axis=(1, 3))
    return float(np.ptp(blocks)) < 30


def color_of(placed: Placed, image: NDArray[np.uint8]) -> str | None:
    """The color word of the surface or part in the final image (H, W, 3)."""
    own = [i for i, item in enumerate(placed.surface.items, 1) if item.feature]
    step = np.s_[::3, ::3]
    shown = ~np.isin(placed.numbers[step], own)
    if placed.region is not None:
        shown &= placed.region[step]
    return color_word(image[step][shown])


def shows_several(placed: Placed) -> bool:
    """Whether more than one item of the family is in view, whole or not."""
    own = [i for i, item in enumerate(placed.surface.items[:254], 1) if not item.feature]
    pixels = np.bincount(placed.numbers.ravel(), minlength=256)
    return sum(int(pixels[i]) >= _LEAST for i in own) > 1


def count_of(placed: Placed, regions: Sequence[DefectRegion]) -> int | None:
    """The number of items that the family shows, None if one is cut off or hidden."""
    items = placed.surface.items
    own = [i for i, item in enumerate(items, 1) if not item.feature]
    if not placed.surface.countable or not own or len(items) > 254:
        return None
    pixels = np.bincount(placed.numbers.ravel(), minlength=256)
    rim = np.concatenate([placed.numbers[s].ravel() for s in (0, -1, np.s_[:, 0], np.s_[:, -1])])
    if np.isin(rim, own).any() or min(pixels[i] for i in own) < _LEAST:
        return None
    count = len(own)
    for region in regions:
        covered = np.bincount(placed.numbers[region.mask], minlength=256)
        hidden = sum(covered[i] > 0.5 * pixels[i] for i in own)
        if region.kind == "extra component":
            if any(covered[i] for i in own):
                return None
            count += 1
        elif region.kind == "missing component":
            count -= int(hidden)
        elif hidden and region.kind in ("missing piece", "hole"):
            return None
    return count


def features_of(
    placed: Placed, image: NDArray[np.uint8], regions: Sequence[DefectRegion], monochrome: bool
) -> tuple[Feature, ...]:
    """The features that are visible in the final image (H, W, 3) and not covered by defects."""
    found: list[tuple[str, Mask, int, bool]] = []
    defective = union_of(regions, image.shape[:2])
    groups: dict[tuple[str, int], list[int]] = {}
    for number, item in enumerate(placed.surface.items[:254], 1):
        if item.feature:
            groups.setdefault((item.kind, item.group), []).append(number)
    for (kind, _), numbers in groups.items():
        masks = [placed.numbers == number for number in numbers]
        clear = [mask for mask in masks if mask.sum() >= _LEAST and not (mask & defective).any()]
        touched = sum(mask.sum() >= _LEAST for mask in masks) - len(clear)
        gone = sum(
            region.kind == "missing component" and (region.mask & mask).sum() > 0.5 * mask.sum()
            for region in regions
            for mask in masks
            if mask.any()
        )
        if clear and touched == gone:
            found.append((kind, np.any(clear, axis=0), len(clear), True))
    for kind, mask in placed.marks:
        if mask.sum() >= _LEAST and (mask & defective).sum() < 0.3 * mask.sum():
            found.append((kind, mask, 1, False))
    return tuple(
        _feature(kind, mask, count, image, monochrome or not crisp)
        for kind, mask, count, crisp in found
        if _is_visible(mask, image, crisp)
    )


def _is_visible(mask: Mask, image: NDArray[np.uint8], crisp: bool) -> bool:
    """Whether a thing differs from the pixels around it; marks are only kept if they do."""
    if not crisp:
        return True
    return float(image[window(mask, 2)].mean(axis=2).std()) > 10


def _feature(
    kind: str, mask: Mask, count: int, image: NDArray[np.uint8], colorless: bool
) -> Feature:
    color = None if colorless else color_word(image[mask])
    place = None if kind in _EVERYWHERE else span_words(mask)
    return Feature(kind, color, place, bounds(mask), count)
