"""Which place of a good photo a region should look like: around the nearest patch of the memory."""

import io
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..inspection import FloatArray, GoodPicture, GoodPlace, Region
from .memory import Reference

# Patches along a side of the smallest place that is shown.
LEAST = 3
# Patches within which two shifts are the same.
NEAR = 1.5
# Share of the votes that a shift needs to count.
ENOUGH = 0.1
# Patches that vote at most.
MOST = 512


@dataclass(frozen=True)
class GoodPatches:
    """Where the patches of a memory lie.

    Attributes:
        pictures: of all photos.
        centres: (m, 3) of each patch, the photo's index, and x and y of its centre in pixels of
            the photo's picture.
    """

    pictures: tuple[GoodPicture, ...]
    centres: FloatArray

    @classmethod
    def of(cls, reference: Reference) -> Self:
        """Return those of a reference."""
        pictures, pitches = [], []
        for photo in reference.photos:
            with Image.open(io.BytesIO(photo.picture)) as image:
                width, height = image.size
            rows, columns = photo.distances.shape
            pictures.append(GoodPicture(photo.name, (height, width)))
            pitches.append((width / columns, height / rows))
        index, row, column = reference.places.T
        across, down = np.array(pitches)[index].T
        centres = np.stack([index, (column + 0.5) * across, (row + 0.5) * down], axis=1)
        return cls(tuple(pictures), centres.astype(np.float32))


def good_place(
    region: Region,
    anomaly_map: FloatArray,
    nearest: FloatArray,
    pictures: tuple[GoodPicture, ...],
) -> GoodPlace:
    """Return the place in a good photo that a region should look like.

    A defect itself is in no good photo, but what surrounds it is. So the patches in and around the
    region vote: each for the photo of its nearest good patch, and for how far that lies from its
    own place. The photo and shift with the most votes count; where the votes are split, as on a
    texture, those of the patch at the region's peak.

    The place is as large as the region, as a share of the picture, but at least three patches wide
    and high. It lies within the picture.

    Args:
        region: of the image.
        anomaly_map: (height, width) of the image, which the region was found in.
        nearest: (h, w, 3), on the image's grid of patches, of the nearest good one the photo's
            index, and x and y of its centre in pixels of the picture.
        pictures: of the reference's photos.
    """
    rows, columns = nearest.shape[:2]
    height, width = region.image_size
    left, top, across, down = region.box
    peak = _peak(region, anomaly_map)
    cells = _cells_around(
        region, (rows, columns), (peak[0] * rows // height, peak[1] * columns // width)
    )
    photos, good = nearest[cells][:, 0].astype(np.int64), nearest[cells][:, 1:]
    sizes = np.array([picture.size[::-1] for picture in pictures])[photos]
    # x and y in shares of the image, and of the picture.
    own = (np.stack(cells[::-1], axis=1) + 0.5) / (columns, rows)
    shifts = good / sizes - own
    alike = (np.abs(shifts[:, None] - shifts) <= np.array([NEAR / columns, NEAR / rows])).all(
        axis=2
    )
    alike &= photos[:, None] == photos
    votes = alike.sum(axis=1)
    chosen = int(votes.argmax()) if votes.max() >= ENOUGH * len(votes) else 0
    shift = shifts[alike[chosen]].mean(axis=0)
    picture = pictures[int(photos[chosen])]
    centre = np.array([(left + across / 2) / width, (top + down / 2) / height]) + shift
    share = max(across / width, LEAST / columns), max(down / height, LEAST / rows)
    (x, w), (y, h) = (
        _side(middle * whole, part, whole)
        for middle, part, whole in zip(centre.tolist(), share, picture.size[::-1], strict=True)
    )
    return GoodPlace(picture.name, (x, y, w, h))


def _peak(region: Region, anomaly_map: FloatArray) -> tuple[int, int]:
    """Return row and column of the largest value of a map inside of a region."""
    left, top, across, down = region.box
    place = slice(top, top + down), slice(left, left + across)
    found = np.where(region.mask[place], anomaly_map[place], -np.inf)
    row, column = divmod(int(found.argmax()), across)
    return top + row, left + column


def _cells_around(
    region: Region, grid: tuple[int, int], first: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the cells in and around a region, a given one first.

    Around is half of the region's sides, and one cell at least. Of many cells some are taken.
    """
    left, top, across, down = region.box
    spans = []
    for start, length, whole, cells in zip(
        (top, left), (down, across), region.image_size, grid, strict=True
    ):
        low, high = ((start + part * length) * cells / whole for part in (-0.5, 1.5))
        spans.append(np.arange(max(0, math.floor(low) - 1), min(cells, math.ceil(high) + 1)))
    rows, columns = (side.ravel() for side in np.meshgrid(*spans, indexing="ij"))
    step = -(-len(rows) // MOST)
    return np.append(first[0], rows[::step]), np.append(first[1], columns[::step])


def _side(middle: float, share: float, whole: int) -> tuple[int, int]:
    """Return start and length of a share of a side around a middle, within the side."""
    length = min(whole, max(1, math.ceil(share * whole)))
    return min(max(0, round(middle - length / 2)), whole - length), length
