"""The regions that an export shows, the run's own or those of a threshold, with their words."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..errors import ExportError
from ..inspection import Region
from ..io.overlay import VISIBLE
from ..real.regions import regions_of
from .items import Item

# What the overlay and the report colour. It does not heed the verdict.
MAP_THRESHOLD = VISIBLE


def pixel_threshold(map_threshold: float | None) -> float:
    """Return what a map's pixels must lie above: as given, or as the overlays are coloured."""
    return MAP_THRESHOLD if map_threshold is None else map_threshold


def worded_regions(item: Item, map_threshold: float | None) -> Iterator[Region]:
    """Yield the regions of an image, each with words of the reasoning.

    Args:
        item: with a map.
        map_threshold: None for the regions that the run found, which the report shows; where it
            holds none, and if a threshold is given, they are those of the map's pixels above it,
            each with the words of the run's regions that it shares pixels with.

    Raises:
        ExportError: if there is no map that can be read, or the regions of the row are damaged.
    """
    anomaly_map = item.anomaly_map()
    height, width = anomaly_map.shape
    try:
        told = [Region.from_json(one, (height, width)) for one in item.row.get("regions", ())]
        masks = [region.mask for region in told if region.phrases]
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"The regions of its row are damaged ({error!r}).") from error
    if map_threshold is None and "regions" in item.row:
        yield from told
        return
    words = [region.phrases for region in told if region.phrases]
    for region in regions_of(anomaly_map, pixel_threshold(map_threshold)):
        mask = region.mask
        shared = [said for said, other in zip(words, masks, strict=True) if np.any(mask & other)]
        yield replace(region, phrases=" ".join(shared))
