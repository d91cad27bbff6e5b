"""What the photos of a reference say about themselves, before anything is inspected with them.

The limits were chosen on real photos of six products with the bundled model.
"""

import io
import math
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageStat
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from .compare import image_distance
from .memory import Reference

# A photo is odd if its distance lies this many scaled MADs above the median of all. A MAD of less
# than a share of the median counts as that share.
ODD, _LEAST_SPREAD = 3.0, 0.03
_MAD_TO_STD = 1.4826
# Fewer photos have no median to rely on.
_LEAST = 5
# Another photo lies farther off than far places of the same photo do: no two parts are alike. Of
# homogeneous surfaces that is true, too; but there any two patches are alike, by this share of the
# distance of unrelated ones.
_UNLIKE, _STRUCTURED = 1.1, 0.65
# Two groups: distances between them, as a multiple of those within them.
_APART = 1.4
# Photos are much darker or brighter, smaller or larger, or of another shape, by these factors.
_LIGHT, _SIZE, _ASPECT = 0.7, 0.5, 0.8
_NAMED = 3


def concerns(reference: Reference, sizes: dict[str, tuple[int, int]]) -> list[str]:
    """Return sentences on what is wrong with the photos, each with what to do.

    Args:
        reference: made of them.
        sizes: (width, height) in pixels of the photos as they were taken, as far as known, by name.
    """
    names = [photo.name for photo in reference.photos]
    found: list[str | None] = [size_concern(sizes), light_concern(reference)]
    if len(names) == 1:
        found.append(
            "One photo promises no rate of false alarms: the threshold is one half. Add photos: "
            "16 promise 1 in 17."
        )
        return [one for one in found if one]
    if odd := odd_photos(reference):
        found.append(
            f"Unlike the others: {_names(odd)}. Look at them: a defective photo among the good "
            f"ones hides defects like its own. Leave it out with --forget {odd[0]!r}."
        )
    distances = photo_distances(reference)
    if groups := two_groups(distances):
        first, second = ([names[index] for index in group] for group in groups)
        found.append(
            f"The photos form two groups that lie far apart: {len(first)} like {first[0]}, and "
            f"{len(second)} like {second[0]}. If these are two products, or one from two sides, "
            "learn a reference of each."
        )
    elif each_another(reference, distances):
        found.append(
            "Every photo shows another part, so good photos tell little about the next one. "
            "Compare with preset default without a reference, or train on labelled photos "
            "(flawsight train)."
        )
    return [one for one in found if one]


def odd_photos(reference: Reference) -> list[str]:
    """Return the names of photos that are unlike the others, the oddest first; maybe defective."""
    far = np.array([image_distance(photo.distances) for photo in reference.photos])
    if len(far) < _LEAST:
        return []
    middle = np.median(far)
    spread = max(_MAD_TO_STD * np.median(np.abs(far - middle)), _LEAST_SPREAD * middle)
    odd = np.flatnonzero(far > middle + ODD * spread)
    return [reference.photos[index].name for index in odd[np.argsort(-far[odd])]]


def photo_distances(reference: Reference) -> Tensor:
    """Return how far each photo's patches lie from each other photo's, on average.

    Args:
        reference: of n photos.

    Returns:
        (n, n) float32; on the diagonal, from patches of the same photo that are at least a quarter
        of its sides away. NaN where a photo has no patch in the memory.
    """
    vectors, places = reference.vectors.float(), torch.from_numpy(reference.places).long()
    count, owner = len(reference.photos), places[:, 0]
    sides = torch.tensor([list(photo.distances.shape) for photo in reference.photos])
    found = torch.full((count, count), torch.nan)
    for row in range(count):
        own = owner == row
        distances = torch.cdist(vectors[own], vectors)
        away = (places[own, None, 1:] - places[None, :, 1:]).abs()
        near = (away < (sides[row] / 4).clamp(min=1)).all(dim=2) & (owner == row)
        nearest = torch.full((len(distances), count), torch.inf).scatter_reduce(
            1, owner.expand_as(distances), distances.masked_fill(near, torch.inf), "amin"
        )
        found[row] = nearest.masked_fill(nearest.isinf(), torch.nan).nanmean(dim=0)
    return found


def each_another(reference: Reference, distances: Tensor) -> bool:
    """Whether every photo shows another part, as bare boards each of a layout of its own.

    Args:
        reference: of n photos.
        distances: of `photo_distances`.
    """
    others = ~torch.eye(len(distances), dtype=torch.bool)
    if len(distances) < 2:
        return False
    ratio = distances[others].nanmean() / distances.diagonal().nanmean()
    # Vectors of unit length for each block: unrelated ones are √2 apart in each.
    unrelated = math.sqrt(2 * len(reference.blocks))
    vectors = reference.vectors.float()
    apart = torch.pdist(vectors[:: max(1, len(vectors) // 512)]).mean() / unrelated
    return bool(ratio > _UNLIKE and apart > _STRUCTURED)


def two_groups(distances: Tensor) -> tuple[list[int], list[int]] | None:
    """Split photos into two groups that lie far apart, as those of two products; None if none do.

    Args:
        distances: (n, n) of `photo_distances`.

    Returns:
        Indices, ascending, of at least two photos each, the larger group first.
    """
    both = distances.numpy()
    both = np.nan_to_num((both + both.T) / 2, nan=float(np.nanmean(both)))
    np.fill_diagonal(both, 0)
    if len(both) < _LEAST:
        return None
    labels = fcluster(linkage(squareform(both, checks=False), "average"), 2, "maxclust")
    groups = sorted((np.flatnonzero(labels == one) for one in (1, 2)), key=len, reverse=True)
    if len(groups[1]) < 2:  # one odd photo
        return None
    within = [both[np.ix_(one, one)].sum() / (len(one) * (len(one) - 1)) for one in groups]
    if both[np.ix_(*groups)].mean() < _APART * np.mean(within):
        return None
    return groups[0].tolist(), groups[1].tolist()


def light_concern(reference: Reference) -> str | None:
    """Return a sentence on photos that are much darker or brighter than the others."""
    means = []
    for photo in reference.photos:
        with Image.open(io.BytesIO(photo.picture)) as image:
            means.append(ImageStat.Stat(image.convert("L")).mean[0])
    odd = _far(means, _LIGHT)
    if not odd:
        return None
    named = _names([reference.photos[index].name for index in odd])
    return (
        f"{len(odd)} of {len(means)} photos are much darker or brighter than the others ({named}). "
        "Take all photos, also those to be inspected, with the same light and exposure."
    )


def size_concern(sizes: dict[str, tuple[int, int]]) -> str | None:
    """Return a sentence on photos whose size or shape is far from that of the others.

    Args:
        sizes: (width, height) in pixels, by name.
    """
    names = list(sizes)
    longest = _far([max(size) for size in sizes.values()], _SIZE)
    shapes = _far([width / height for width, height in sizes.values()], _ASPECT)
    odd = sorted({*longest, *shapes})
    if not odd:
        return None
    return (
        f"{len(odd)} of {len(sizes)} photos have another size or shape than the others "
        f"({_names([names[index] for index in odd])}). Take all photos from the same distance with "
        "the same crop: the model sees details at one scale."
    )


def _far(values: Sequence[float], factor: float) -> list[int]:
    """Return the indices of positive values below `factor` times the median, or 1 / that above."""
    if not values:
        return []
    middle = median(values)
    return [
        i for i, one in enumerate(values) if not factor <= one / max(middle, 1e-9) <= 1 / factor
    ]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
