"""Patch features → distances from the nearest good patch → one number for the image.

Nearest neighbours of local features in a memory of normal ones, as PatchCore (Roth et al. 2022) and
AnomalyDINO (Damm et al. 2025) do, here in the vision encoder of the model that explains.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize

from ..inspection import Box, PatchEvidence
from ..real.anomaly_map import HALF, upsample

# Share of an image's patches, the farthest ones, whose mean distance is the image's.
TOP = 0.01
# Sides of the square of patches that are averaged.
NEIGHBOURS = 3
# Values of one chunk of the matrix of distances: 64 MiB.
_AT_ONCE = 1 << 24


def patch_vectors(features: Tensor) -> Tensor:
    """Return one vector of each patch, whose distances are compared.

    Features of each block are those of the patch and the mean of its neighbourhood in equal parts,
    centred, and scaled to length 1, so that blocks count alike. Either part alone is better
    on some sets of real photos and much worse on others (docs/log.md, 94).

    Args:
        features: (blocks, h, w, d).

    Returns:
        (h, w, blocks · d) float32.
    """
    with torch.autocast(features.device.type, enabled=False):
        own = features.float().permute(0, 3, 1, 2)
        around = avg_pool2d(
            own, NEIGHBOURS, stride=1, padding=NEIGHBOURS // 2, count_include_pad=False
        )
        local = (own + around) / 2
        unit = normalize(local - local.mean(dim=1, keepdim=True), dim=1)
        return unit.permute(2, 3, 0, 1).flatten(2)


def nearest(vectors: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of each vector from the nearest one of the memory, and which it is.

    Args:
        vectors: (n, d).
        memory: (m, d), m at least 1; in half precision it is compared in float32.

    Returns:
        (n,) float32 Euclidean distances, at least 0, and (n,) int64 indices. Memory stays flat: the
        matrix of distances is made in chunks.
    """
    vectors, memory = vectors.float(), memory.to(vectors.device).float()
    squares = memory.square().sum(dim=1)
    rows = max(1, _AT_ONCE // len(memory))
    found = [(squares - 2 * (chunk @ memory.T)).min(dim=1) for chunk in torch.split(vectors, rows)]
    index = torch.cat([each.indices for each in found])
    # The squares lose digits where two vectors are close; the difference itself does not.
    return (vectors - memory[index]).norm(dim=1), index


def image_distance(distances: Tensor) -> float:
    """Return the mean of the largest 1 % of an image's patch distances, of at least one patch.

    Args:
        distances: (h, w); NaN outside of a region of interest, which does not count.
    """
    known = distances[~distances.isnan()]
    if not len(known):
        return math.nan
    return float(known.topk(max(1, round(TOP * len(known)))).values.mean())


def on_scale(times: float) -> float:
    """Return x / (x + 4), in [0, 1), of a distance in units of the usual one of good patches.

    It is the scale of maps: what lies as far as good patches usually do has 0.2.
    """
    return times / (times + HALF) if math.isfinite(times) else 1.0


def reference_score(patches: PatchEvidence) -> float | None:
    """Return the score in [0, 1) of an image by its distances; None without a reference."""
    distance = patches.reference_distance
    return None if distance is None else on_scale(image_distance(distance))


def multiply_by_reference(dense: Tensor, distance: Tensor | None) -> Tensor:
    """Multiply a density by the patches' distances from good ones.

    Args:
        dense: (grid_h, grid_w) of an image.
        distance: (h, w) of the same image, on a grid as fine or finer; None is 1 everywhere, and
            NaN is 0.

    Returns:
        (h, w). Where patches lie as far as good ones usually do, the density stays as it is.
    """
    if distance is None:
        return dense
    return upsample(dense, (distance.shape[0], distance.shape[1])) * distance.nan_to_num()


def within(
    distance: Tensor | None, box: Box, image_size: tuple[int, int], grid: tuple[int, int]
) -> Tensor | None:
    """Return the distances inside of a crop, on its own grid.

    Args:
        distance: (h, w) of the whole image, or None.
        box: of the crop, in pixels.
        image_size: (height, width).
        grid: (rows, columns) of the crop.
    """
    if distance is None:
        return None
    left, top, width, height = box
    # From -1 to 1 over the whole image.
    down = 2 * (top + (torch.arange(grid[0]) + 0.5) * height / grid[0]) / image_size[0] - 1
    across = 2 * (left + (torch.arange(grid[1]) + 0.5) * width / grid[1]) / image_size[1] - 1
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)
    return grid_sample(
        distance.nan_to_num()[None, None], places[None], padding_mode="border", align_corners=False
    )[0, 0]
