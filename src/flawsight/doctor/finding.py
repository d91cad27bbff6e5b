"""What a check found."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: of the check.
        ok: whether it holds; None for what only informs.
        message: one line: what was found and, if it is not well, what to do.
        values: the same as JSON types.
    """

    name: str
    ok: bool | None
    message: str
    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON types; a number that is not finite becomes None."""
        written: dict[str, Any] = json.loads(
            json.dumps(asdict(self)), parse_constant=lambda _: None
        )
        return written


@dataclass(frozen=True)
class Tolerance:
    """How far two exact computations may differ by rounding.

    Attributes:
        rows: of attention, see `row_difference`.
        nats: of a log-probability up to 10; that of a larger one grows with it.
    """

    rows: float
    nats: float


# Three times and more what tiny checkpoints of all families show. Other rows, or those of another
# layer, differ by 0.3 and more.
TOLERANCES = {
    torch.float32: Tolerance(1e-3, 1e-3),
    torch.float16: Tolerance(0.02, 0.1),
    torch.bfloat16: Tolerance(0.15, 0.5),
}


def row_difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the mean over rows of Σ |found − wanted| / Σ wanted; both are (N, …)."""
    found, wanted = found.flatten(1).double().cpu(), wanted.flatten(1).double().cpu()
    return float(((found - wanted).abs().sum(dim=1) / wanted.sum(dim=1)).mean())
