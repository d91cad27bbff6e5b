"""flawsight itself as a detector: any model, adapter and settings."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import FlawsightError
from ...inspector import Inspector
from ...io.images import read_image
from ...localize import inspect_trace
from ...runs.describe import describe
from ...runs.trace_store import trace_folder, traced
from .protocol import Prediction


class FlawsightDetector:
    """ReAL on one multimodal LLM.

    Detectors that differ only in how they read a response (selection, thresholds, weights, row)
    share its generation through the folder of traces.

    Args:
        name: what tables call it.
        inspector: model, settings and batch size.
        traces: folder where responses and their attention are kept.
    """

    def __init__(self, name: str, inspector: Inspector, traces: Path) -> None:
        self.name = name
        self.batch_size = inspector.batch_size
        self._inspector = inspector
        self._traces = trace_folder(traces, inspector.mllm, inspector.settings)

    def about(self) -> dict[str, Any]:
        """Return the model and the settings."""
        return describe(self._inspector)

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Inspect a batch of images.

        Raises:
            ModelError: if the model is at fault.
        """
        began = time.perf_counter()
        inspector = self._inspector
        outcomes = traced(inspector.mllm, images, inspector.settings, self._traces)
        share = (time.perf_counter() - began) / max(1, len(images))
        predictions: list[Prediction | FlawsightError] = []
        for path, outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, FlawsightError):
                predictions.append(outcome)
                continue
            trace, image_size = outcome
            try:
                inspection = inspect_trace(
                    trace,
                    image_size,
                    inspector.settings,
                    str(path),
                    share,
                    inspector.threshold,
                    inspector.mllm.looks,
                    read_image(path) if inspector.settings.follow_edges else None,
                )
            except FlawsightError as error:
                predictions.append(error)
                continue
            predictions.append(
                Prediction(
                    pred_score=inspection.pred_score,
                    pred_label=inspection.pred_label,
                    anomaly_map=inspection.anomaly_map,
                    explanation=inspection.explanation,
                    contradiction=inspection.contradiction,
                    seconds=inspection.seconds,
                    details=inspection.to_json(),
                )
            )
        return predictions
