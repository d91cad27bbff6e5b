"""The interface of every detector under comparison: image files in, predictions out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from ...data.dataset import Dataset
from ...errors import FlawsightError
from ...inspection import FloatArray

T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """A detector's prediction for one image; None for what the detector does not predict.

    Attributes:
        pred_score: finite, higher for a defect.
        pred_label: the detector's own verdict, True for a defect.
        anomaly_map: (height, width) of the upright image, finite, higher for a defect.
        explanation: the reasoning as text.
        contradiction: True if the reasoning claims the opposite of the verdict.
        seconds: time spent on this image.
        details: further fields of the run folder's row, as JSON types.
        arrays: further arrays of the run folder, by their names in `runs.read.ARRAY_FOLDERS`.
    """

    pred_score: float | None = None
    pred_label: bool | None = None
    anomaly_map: FloatArray | None = field(default=None, repr=False)
    explanation: str | None = None
    contradiction: bool | None = None
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict, repr=False)
    arrays: dict[str, FloatArray] = field(default_factory=dict, repr=False)


class Detector(Protocol):
    """A system under comparison. It gets images only, never their labels."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def batch_size(self) -> int:
        """How many images to pass at once."""

    def about(self) -> dict[str, Any]:
        """Return, as JSON types, all that its predictions depend on, without secrets.

        A run folder is resumed only by a detector with the same description.
        """

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Return the prediction for each image, or its error.

        Raises:
            FlawsightError: if every image would fail.
        """


@runtime_checkable
class Learner(Protocol):
    """A system that learns from good photos of each product before it is a detector."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    def learned(self, dataset: Dataset, good: Mapping[str, Sequence[Path]]) -> Detector:
        """Return the detector of a data set, by good photos of each of its categories.

        Raises:
            FlawsightError: if there are none, or they cannot be used.
        """


def about_bit_depth(bit_depth: int | None) -> dict[str, Any]:
    """Return the part of `about()` that names a bit depth; empty without one, as in older runs."""
    return {} if bit_depth is None else {"bit_depth": bit_depth}


def each(function: Callable[[Path], T], images: Sequence[Path]) -> list[T | FlawsightError]:
    """Return for each image what `function` returns, or the error that it raises."""
    outcomes: list[T | FlawsightError] = []
    for image in images:
        try:
            outcomes.append(function(image))
        except FlawsightError as error:
            outcomes.append(error)
    return outcomes
