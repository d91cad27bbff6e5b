"""flawsight itself as a detector: any model, adapter and settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import FlawsightError
from ...inspector import Inspector
from ...runs.describe import describe
from ...runs.read import arrays_of
from .protocol import Prediction


class FlawsightDetector:
    """An Inspector as a detector.

    Detectors that differ only in selection or refinement share their generation, if their
    inspectors have a trace store in the same folder.
    """

    def __init__(self, name: str, inspector: Inspector) -> None:
        self.name = name
        self.batch_size = inspector.batch_size
        self._inspector = inspector

    def about(self) -> dict[str, Any]:
        """Return the model and the settings."""
        return describe(self._inspector)

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Inspect a batch of images.

        Raises:
            ModelError: if the model is at fault.
        """
        return [
            outcome
            if isinstance(outcome, FlawsightError)
            else Prediction(
                pred_score=outcome.pred_score,
                pred_label=outcome.pred_label,
                anomaly_map=outcome.anomaly_map,
                explanation=None if outcome.answer is None else outcome.explanation,
                contradiction=outcome.contradiction,
                seconds=outcome.seconds,
                details=outcome.to_json(),
                # With them, another threshold needs no model (runs/relabel.py).
                arrays={
                    name: array
                    for name, array in arrays_of(outcome).items()
                    if name != "anomaly_map"
                },
            )
            for outcome in self._inspector.inspect_batch(images)
        ]
