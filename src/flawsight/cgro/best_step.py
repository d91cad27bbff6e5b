"""Which validated step is the best, and how sure it is: a bootstrap over the validation images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..metrics.bootstrap import bootstrap_weights, interval
from ..metrics.ranking import auroc, counts_of

RESAMPLES = 1000
# With fewer images of a class, the bootstrap's intervals are too narrow.
FEW_IMAGES = 10


class Outcome(NamedTuple):
    """The inspection of one validation image.

    Attributes:
        label: y.
        score: P(Yes); None without an answer.
        pred_label: the verdict.
        contradicts: the reasoning contradicts the answer.
        image: its path.
        text: the response.
    """

    label: bool
    score: float | None
    pred_label: bool
    contradicts: bool
    image: str = ""
    text: str = ""


@dataclass(frozen=True)
class Gain:
    """Difference of two image AUROCs on the same images: the later one's minus the earlier one's.

    Attributes:
        value: the difference, in [−1, 1].
        low, high: its 95 % interval over resamples of the images.
        error: its standard error.
    """

    value: float
    low: float
    high: float
    error: float


def ranked(outcomes: Sequence[Outcome]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return labels and scores; an image without an answer ranks at the wrong end."""
    labels = np.array([one.label for one in outcomes], bool)
    scores = [(-1.0 if one.label else 2.0) if one.score is None else one.score for one in outcomes]
    return labels, np.array(scores, np.float64)


def auroc_draws(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Return the (B,) image AUROCs of resamples, the same ones for the same images."""
    labels, scores = ranked(outcomes)
    return auroc(counts_of(labels, scores, bootstrap_weights(labels, RESAMPLES, seed=0)))


def gain(earlier: Sequence[Outcome], later: Sequence[Outcome]) -> Gain:
    """Compare two validations of the same images, in the same order."""
    values = [float(auroc(counts_of(*ranked(outcomes)))) for outcomes in (earlier, later)]
    differences = auroc_draws(later) - auroc_draws(earlier)
    return Gain(values[1] - values[0], *interval(differences), float(differences.std()))


def best_step(validations: Sequence[Sequence[Outcome]]) -> int:
    """Return the index of the best of the validations, in the order of their steps.

    A later step takes the place of an earlier one if its image AUROC is higher by more than the
    standard error of the difference. Otherwise the earlier one, which is nearer to the language of
    the model before training, stays.
    """
    best = 0
    for index in range(1, len(validations)):
        found = gain(validations[best], validations[index])
        if found.value > found.error:
            best = index
    return best
