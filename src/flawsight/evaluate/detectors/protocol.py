"""What every system that is compared looks like from outside: image files in, predictions out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...errors import FlawsightError
from ...inspection import FloatArray


@dataclass(frozen=True)
class Prediction:
    """What a system says of one image. None: this kind of system does not say.

    Attributes:
        pred_score: finite, higher for a defect; None from a system that only answers.
        pred_label: its own verdict, True for a defect; None from a system that only scores.
        anomaly_map: (height, width) of the upright image, finite, higher for a defect.
        explanation: the reasoning in words.
        contradiction: True if the reasoning says the opposite of the verdict.
        seconds: time spent on this image.
        details: anything else worth a place in the run folder's row, as JSON types.
    """

    pred_score: float | None = None
    pred_label: bool | None = None
    anomaly_map: FloatArray | None = field(default=None, repr=False)
    explanation: str | None = None
    contradiction: bool | None = None
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict, repr=False)


class Detector(Protocol):
    """A system under comparison. It is given images only, never their labels."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def batch_size(self) -> int:
        """How many images it wants at once."""

    def about(self) -> dict[str, Any]:
        """Return, as JSON types, all that its predictions depend on.

        A run folder is gone on with only by a detector that says the same of itself. No secrets.
        """

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Return a prediction for each image, or the error in its place.

        Raises:
            FlawsightError: if the system itself cannot go on, for then every image would fail.
        """
