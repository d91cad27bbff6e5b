"""What the candidates of a step earned → the figures that are logged."""

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from .score_rollout import Score


class CandidateTable:
    """One row of numbers a candidate, gathered over the passes of a step."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._losses: list[Tensor] = []

    def add(
        self,
        labels: Sequence[bool],
        scores: Sequence[Score],
        uniform: Tensor,
        mask: Tensor,
        entropy: Tensor,
    ) -> None:
        """Add N candidates.

        Args:
            labels: y of each.
            scores: of each.
            uniform: (N,) bool, whether all candidates of its image earned the same.
            mask: (N, L) bool, True for tokens of the completion.
            entropy: (N, L).
        """
        lengths = mask.sum(dim=1)
        earned = torch.tensor(
            [
                [y, s.format, s.accuracy, s.consistency, s.total, s.agreement]
                for y, s in zip(labels, scores, strict=True)
            ],
            device=mask.device,
        )
        mean_entropy = torch.where(mask, entropy, 0.0).sum(dim=1) / lengths
        own = torch.stack([uniform.float(), lengths.float(), mean_entropy], dim=1)
        self._rows.append(torch.cat([earned.float(), own], dim=1))

    def add_losses(self, losses: Tensor, kl: Tensor) -> None:
        """Add the (N,) losses and mean KL of the candidates that were added last."""
        self._losses.append(torch.stack([losses.detach(), kl], dim=1).float())

    def metrics(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the means and spreads over the candidates of all processes.

        A figure that nothing bears on, like J of defective images where there was none, is left
        out. "spread" is the standard deviation.
        """
        own = torch.cat([torch.cat(self._rows), torch.cat(self._losses)], dim=1)
        table = accelerator.gather(own).double().cpu()
        label, format_, accuracy, consistency, reward, agreement, uniform, *rest = table.T
        lengths, entropy, losses, kl = rest
        figures = {
            "loss": losses.mean(),
            "kl": kl.mean(),
            "entropy": entropy.mean(),
            "length": lengths.mean(),
            "length_max": lengths.max(),
            "uniform_groups": uniform.mean(),
        }
        rewards = {
            "reward": reward, "format": format_, "accuracy": accuracy, "consistency": consistency
        }  # fmt: skip
        for name, values in rewards.items():
            figures[f"{name}_mean"] = values.mean()
            figures[f"{name}_spread"] = values.std()
        for name, chosen in (("J_defective", label == 1), ("J_normal", label == 0)):
            figures[name] = agreement[chosen].nanmean()
        return {
            name: round(float(value), 6)
            for name, value in figures.items()
            if not math.isnan(float(value)) or name == "loss"
        }
