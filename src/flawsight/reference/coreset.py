"""A few vectors that stand for many: greedy k-center (Gonzalez 1985), as PatchCore has it."""

import torch
from torch import Tensor

# Dimensions of the random projection in which distances are compared while choosing.
DIMENSIONS = 64


def greedy_coreset(vectors: Tensor, most: int) -> Tensor:
    """Choose vectors one by one, each the farthest from all chosen before it.

    Distances are those after a random projection with a fixed seed (Johnson and Lindenstrauss
    1984), which keeps them roughly and takes a fraction of the time.

    Args:
        vectors: (n, d) float32.
        most: how many are chosen at most.

    Returns:
        (k,) int64 indices, ascending; all of them if there are no more than `most`.
    """
    if len(vectors) <= most:
        return torch.arange(len(vectors))
    if vectors.shape[1] > DIMENSIONS:
        seeded = torch.Generator().manual_seed(0)
        projection = torch.randn(vectors.shape[1], DIMENSIONS, generator=seeded)
        vectors = vectors @ projection
    vectors = vectors.contiguous()
    squares = vectors.square().sum(dim=1)
    # The first is the farthest from the mean.
    chosen = [int((vectors - vectors.mean(dim=0)).square().sum(dim=1).argmax())]
    left = torch.full_like(squares, torch.inf)
    for _ in range(most - 1):
        newest = vectors[chosen[-1]]
        # Less the squares of `left`'s own vector, which are the same for all that are chosen.
        left = torch.minimum(left, newest.dot(newest) - 2 * (vectors @ newest))
        farthest = (left + squares).max(dim=0)
        if farthest.values <= 0:  # all others are copies of those chosen
            break
        chosen.append(int(farthest.indices))
    return torch.tensor(sorted({*chosen}))
