"""CGRO's rewards R_fmt, R_acc and R_cons, and the advantages GRPO makes of them (paper §3.2).

Pure functions. Each reward is 0 or 1 [paper], and the three are added with unit weights [paper].
[figure] marks what only the paper's method figure shows, [ours] what the paper leaves open.
"""

import math
from itertools import combinations
from typing import Literal

from torch import Tensor

from ..mllm.response import follows_form


def format_reward(text: str) -> float:
    """R_fmt: 1 if the response has the form ``<think>…</think><answer>Yes|No</answer>`` [paper].

    White space around the tags is allowed. An empty reasoning is not, nor are further tags of
    these inside it or text outside [ours].
    """
    return float(follows_form(text))


def accuracy_reward(answer: Literal["Yes", "No"] | None, label: bool) -> float:
    """R_acc: 1 if the answer equals the image's label y [paper].

    Args:
        answer: from `parse_response`, which also reads answers in a wrong form: the form is
            R_fmt's part [ours]. None, for a response without an answer, earns 0.
        label: y, True for an anomalous image.
    """
    return float(answer == ("Yes" if label else "No"))


def top_tokens(weights: Tensor, count: int = 3) -> Tensor:
    """Choose the top-t reasoning tokens by w_r [paper]; t = 3 [figure].

    Args:
        weights: (R,) w_r of the reasoning tokens.
        count: t, at least 1.

    Returns:
        (min(t, R),) indices, the heaviest first; of equal ones the earlier [ours].
    """
    return weights.argsort(descending=True, stable=True)[:count]


def supports(maps: Tensor, quantile: float = 0.95) -> Tensor:
    """Binarise each map at its 95th percentile [paper]: the cells strictly above it [ours].

    The support of a map without ties is its ⌈0.05 (N − 1)⌉ highest cells (12 of 225). Cells equal
    to the percentile are left out, so the support of a sparse map holds positive cells only. It is
    empty if the map is constant, or if more than 5 % of the cells share its maximum.

    Args:
        maps: (t, N) attention over the N image tokens, on any scale: only its order counts.
        quantile: in [0, 1).

    Returns:
        (t, N) bool.
    """
    # A cell above the percentile, interpolated between two ranks, is above the lower one. The
    # small number keeps a whole rank, like 0.95 · 20, from being rounded down.
    rank = math.floor(quantile * (maps.shape[-1] - 1) + 1e-6)
    return maps > maps.kthvalue(rank + 1, dim=-1, keepdim=True).values


def jaccard(supports: Tensor, of: Literal["pairs", "all"] = "pairs") -> float:
    """J, the Jaccard index of the supports of the top-t tokens [paper].

    The index is defined for two sets. For more, "pairs" is the mean over their pairs and "all" is
    |∩ S_r| / |∪ S_r| [ours]. If all sets are empty, J is 0.

    Args:
        supports: (t, N) bool.
        of: see above.

    Returns:
        In [0, 1]; NaN for fewer than two tokens.
    """
    if len(supports) < 2:
        return math.nan
    if of == "all":
        return _overlap(supports)
    overlaps = [_overlap(supports[list(pair)]) for pair in combinations(range(len(supports)), 2)]
    return sum(overlaps) / len(overlaps)


def consistency_reward(
    agreement: float, label: bool, delta_anomalous: float, delta_normal: float
) -> float:
    """R_cons: 1 if (y = 1 and J > δ1) or (y = 0 and J < δ2), else 0 [paper].

    A defect has one place, so the maps should overlap; a normal image has none. The values of δ1
    and δ2 are not published: for y = 1, J = .76 earns 1 and J = .13 earns 0 [figure].

    Args:
        agreement: J in [0, 1]; NaN earns 0 for either label, so a reasoning of one token never
            earns R_cons [ours].
        label: y, True for an anomalous image.
        delta_anomalous: δ1 in [0, 1].
        delta_normal: δ2 in [0, 1].
    """
    return float(agreement > delta_anomalous if label else agreement < delta_normal)


def group_advantages(rewards: Tensor) -> Tensor:
    """Â = (R − mean R) / (std R + 1e-4) within the group of one image's candidates (GRPO).

    The standard deviation is the sample's (G − 1), and 1e-4 is TRL's.

    Args:
        rewards: (…, G) summed rewards, G at least 2.

    Returns:
        (…, G); 0 if all candidates of a group earn the same.
    """
    centred = rewards - rewards.mean(dim=-1, keepdim=True)
    return centred / (rewards.std(dim=-1, keepdim=True) + 1e-4)


def _overlap(sets: Tensor) -> float:
    union = int(sets.any(dim=0).sum())
    return int(sets.all(dim=0).sum()) / union if union else 0.0
