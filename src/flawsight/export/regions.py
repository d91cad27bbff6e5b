"""The regions that an export shows: of its own threshold, with the run's words."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..errors import ExportError
from ..inspection import FloatArray, Region
from ..real.regions import regions_of
from ..report.overlay import VISIBLE
from .items import Item

# What the overlay and the report colour. It does not heed the verdict.
MAP_THRESHOLD = VISIBLE


def worded_regions(item: Item, anomaly_map: FloatArray, threshold: float) -> Iterator[Region]:
    """Yield the regions of an image's map, each with the words of the run's region it is part of.

    Args:
        item: whose row holds the run's regions, if any.
        anomaly_map: its map, (height, width).
        threshold: pixels above it make the regions.

    Raises:
        ExportError: if the regions of the row are damaged.
    """
    height, width = anomaly_map.shape
    try:
        told = [Region.from_json(one, (height, width)) for one in item.row.get("regions", ())]
        masks = [region.mask for region in told if region.words]
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"The regions of its row are damaged ({error!r}).") from error
    words = [region.words for region in told if region.words]
    for region in regions_of(anomaly_map, threshold):
        mask = region.mask
        shared = [said for said, other in zip(words, masks, strict=True) if np.any(mask & other)]
        yield replace(region, words=" ".join(shared))
