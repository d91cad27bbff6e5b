"""Rewards and losses of a step's candidates → the metrics that are logged."""

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from .loss import candidate_means
from .score_rollout import Score

_COLUMNS = (
    "label", "format", "accuracy", "consistency", "reward", "J",
    "zero_variance", "length", "entropy", "loss", "kl",
)  # fmt: skip


class CandidateTable:
    """One row of numbers per candidate, collected over the passes of a step."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def add(
        self,
        labels: Sequence[bool],
        scores: Sequence[Score],
        groups: Tensor,
        mask: Tensor,
        entropy: Tensor,
        losses: Tensor,
        kl: Tensor,
    ) -> None:
        """Add the N candidates of B images.

        Args:
            labels: N; y of each.
            scores: N.
            groups: (B, N / B) summed rewards of each image's candidates.
            mask: (N, L) bool, True for tokens of the completion.
            entropy: (N, L), undefined at padding.
            losses: (N,).
            kl: (N,).
        """
        rewards = torch.tensor(
            [
                [y, s.format, s.accuracy, s.consistency, s.total, s.agreement]
                for y, s in zip(labels, scores, strict=True)
            ],
            device=mask.device,
        )
        zero_variance = (groups == groups[:, :1]).all(dim=1).repeat_interleave(groups.shape[1])
        mean_entropy = candidate_means(entropy, mask)
        own = [zero_variance, mask.sum(dim=1), mean_entropy, losses.detach(), kl]
        columns = [*rewards.T, *own]
        self._rows.append(torch.stack([column.float() for column in columns], dim=1))

    def metrics(self, accelerator: Accelerator) -> dict[str, float]:
        """Return means and standard deviations ("_std") over the candidates of all processes.

        A metric without candidates, like J of defective images in a step without any, is left out.
        """
        table = accelerator.gather(torch.cat(self._rows)).double().cpu()
        columns = dict(zip(_COLUMNS, table.T, strict=True))
        metrics = {name: columns[name].mean() for name in ("loss", "kl", "entropy", "length")}
        metrics["length_max"] = columns["length"].max()
        metrics["zero_variance_groups"] = columns["zero_variance"].mean()
        for name in ("reward", "format", "accuracy", "consistency"):
            metrics[f"{name}_mean"] = columns[name].mean()
            metrics[f"{name}_std"] = columns[name].std()
        label = columns["label"]
        for name, chosen in (("J_defective", label == 1), ("J_normal", label == 0)):
            metrics[name] = columns["J"][chosen].nanmean()
        return {
            name: round(float(value), 6)
            for name, value in metrics.items()
            if not math.isnan(float(value)) or name == "loss"
        }
