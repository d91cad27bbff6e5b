"""The regions of an export, from the run or by a threshold, with their phrases."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..errors import ExportError
from ..inspection import Region
from ..io.overlay import VISIBLE
from ..real.regions import regions_of
from .items import Item

# What the overlay and the report colour. It does not depend on the verdict.
MAP_THRESHOLD = VISIBLE


def pixel_threshold(map_threshold: float | None) -> float:
    """Return the threshold of a map's pixels: as given, or that of the overlays' colours."""
    return MAP_THRESHOLD if map_threshold is None else map_threshold


def regions_with_phrases(item: Item, map_threshold: float | None) -> Iterator[Region]:
    """Yield the regions of an image, each with phrases of the reasoning.

    An image that is called good has none, unless its run was told to draw them.

    Args:
        item: with a map.
        map_threshold: None yields the regions of the run, which the report shows. Given a
            threshold, or if the row lists no regions, they are those of the pixels above it, each
            with the phrases of the run's regions that share pixels with it.

    Raises:
        ExportError: if the map cannot be read, or the regions of the row are damaged.
    """
    anomaly_map = item.anomaly_map()
    if item.pred_label is False and not (item.row.get("region_rule") or {}).get("of_good"):
        return
    height, width = anomaly_map.shape
    try:
        of_run = [Region.from_json(one, (height, width)) for one in item.row.get("regions", ())]
        masks = [region.mask for region in of_run if region.phrases]
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"The regions of its row are damaged ({error!r}).") from error
    if map_threshold is None and "regions" in item.row:
        yield from of_run
        return
    phrases = [region.phrases for region in of_run if region.phrases]
    for region in regions_of(anomaly_map, pixel_threshold(map_threshold)):
        mask = region.mask
        shared = [text for text, other in zip(phrases, masks, strict=True) if np.any(mask & other)]
        yield replace(region, phrases=" ".join(shared))
