"""Which heads localize, from image-level labels alone.

A head that looks at the defect looks where others do that look at it too, for there is something to
see; a head that does not has its own habits. So a head is as good as its most attended cells agree,
on defective images, with those of all other heads; habits are taken out first, by what it does on
good images (real/sinks.py).
"""

import torch
from torch import Tensor

# Share of the cells that count as a head's most attended ones.
TOP = 0.05


def head_agreement(maps: Tensor) -> Tensor:
    """Return (K,) the mean Jaccard index of each head's top cells with those of the others' mean.

    Args:
        maps: (n, K, cells) densities of n defective images, relative to those of good ones.
    """
    count = max(1, round(TOP * maps.shape[-1]))
    others = (maps.sum(dim=1, keepdim=True) - maps) / max(1, maps.shape[1] - 1)
    own, theirs = (_top(values, count) for values in (maps, others))
    both = (own & theirs).sum(dim=-1).float()
    return (both / (own | theirs).sum(dim=-1)).mean(dim=0)


def best_heads(agreement: Tensor, share: float) -> tuple[tuple[int, int], ...]:
    """Return the (layer, head) pairs of the best `share` of an (L, H) table, at least one."""
    count = max(1, round(share * agreement.numel()))
    chosen = agreement.flatten().argsort(descending=True, stable=True)[:count].sort().values
    return tuple((int(i) // agreement.shape[1], int(i) % agreement.shape[1]) for i in chosen)


def _top(values: Tensor, count: int) -> Tensor:
    mask = torch.zeros_like(values, dtype=torch.bool)
    return mask.scatter(-1, values.topk(count, dim=-1).indices, True)
