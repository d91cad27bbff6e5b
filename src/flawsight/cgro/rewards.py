"""CGRO's rewards R_fmt, R_acc and R_cons, and the advantages GRPO makes of them (paper §3.2).

Pure functions. Each reward is 0 or 1 [paper], and the three are added with unit weights [paper].
[figure] marks what only the paper's method figure shows, [ours] what it leaves open.
"""

import math
from itertools import combinations
from typing import Literal

from torch import Tensor

from ..mllm.response import follows_form

JaccardOf = Literal["pairs", "all"]


def format_reward(text: str) -> float:
    """R_fmt: 1 if the response has the form ``<think>…</think><answer>Yes|No</answer>`` [paper].

    White space around the tags is forgiven, an empty reasoning is not [ours].
    """
    return float(follows_form(text))


def accuracy_reward(answer: Literal["Yes", "No"] | None, label: bool) -> float:
    """R_acc: 1 if the answer equals the image's label y [paper].

    Args:
        answer: as `parse_response` reads it, in the right form or not: R_fmt pays for the form
            [ours]. None, for a response without an answer, earns nothing.
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

    A map without ties keeps its ⌈0.05 (N − 1)⌉ highest cells (12 of 225). Cells equal to the
    percentile are left out, so a sparse map keeps no more than its positive cells; a map that is
    constant, or whose maximum more than 5 % of the cells share, looks nowhere and keeps none.

    Args:
        maps: (t, N) attention over the N image tokens, on any scale: only its order counts.
        quantile: in [0, 1).

    Returns:
        (t, N) bool.
    """
    # Above the percentile that is interpolated between two ranks is above the lower one. The
    # small number keeps a rank that is whole, 0.95 · 20, from being rounded down.
    rank = math.floor(quantile * (maps.shape[-1] - 1) + 1e-6)
    return maps > maps.kthvalue(rank + 1, dim=-1, keepdim=True).values


def jaccard(supports: Tensor, of: JaccardOf = "pairs") -> float:
    """J, how far the chosen tokens look at the same place [paper].

    The Jaccard index is defined for two sets. For three, "pairs" is the mean over their pairs,
    "all" is |∩ S_r| / |∪ S_r| [ours]. Sets that are all empty agree on no place: their J is 0.

    Args:
        supports: (t, N) bool.
        of: see above.

    Returns:
        In [0, 1]; NaN for fewer than two tokens, which can neither agree nor disagree.
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

    What is defective is seen in one place; what is normal gives no place to agree on. The values
    of δ1 and δ2 are not published: for y = 1, J = .76 earns 1 and J = .13 earns 0 [figure].

    Args:
        agreement: J in [0, 1]; NaN earns nothing for either label, so that one
            word does not pay [ours].
        label: y, True for an anomalous image.
        delta_anomalous: δ1 in [0, 1].
        delta_normal: δ2 in [0, 1].
    """
    return float(agreement > delta_anomalous if label else agreement < delta_normal)


def group_advantages(rewards: Tensor, scale: bool = True) -> Tensor:
    """Â = (R − mean R) / (std R + 1e-4) within the group of one image's candidates (GRPO).

    The deviation is that of a sample (G − 1), and 1e-4 as in TRL.

    Args:
        rewards: (…, G) summed rewards, G at least 2.
        scale: False leaves out the division (Dr. GRPO, arXiv 2503.20783).

    Returns:
        (…, G); 0 where all candidates earn the same.
    """
    centred = rewards - rewards.mean(dim=-1, keepdim=True)
    return centred / (rewards.std(dim=-1, keepdim=True) + 1e-4) if scale else centred


def _overlap(sets: Tensor) -> float:
    union = int(sets.any(dim=0).sum())
    return int(sets.all(dim=0).sum()) / union if union else 0.0
