"""Whether the scores of a product have drifted: those of the latest week against reference weeks.

The test is Kolmogorov and Smirnov's for two samples (`scipy.stats.ks_2samp`). It sees any change of
a distribution. The rank test of Mann and Whitney has more power for a pure shift, but is blind to
scores that spread both ways, as of a lamp that flickers. Equal scores make it cautious.

Scores are looked at once a day, up to the end of the day before (UTC), however often somebody asks.
So a year has 365 looks, and a p-value is multiplied by these and by the number of products
(Bonferroni): while nothing changes, the probability of an alarm in a year is `LEVEL` at most. That
holds for independent scores. Parts of a lot resemble each other, and with many parts even a
difference that is of no use to know is significant; an alarm therefore needs a distance, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .stored_scores import ScoreRow

DAY_MS = 86_400_000
LATEST_DAYS, REFERENCE_DAYS = 7, 28
LOOKS = 365  # a year
LEVEL = 0.05  # of the corrected p-value, below which it is an alarm
DISTANCE = 0.1  # above which it is one
LEAST = 50  # inspections in the latest week; the reference weeks need twice as many
BINS = 20

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Weeks:
    """The scores of some days.

    Attributes:
        since_ms, until_ms: milliseconds since 1970, the latter exclusive.
        count: of inspections.
        defective: the share of them that was called so, in [0, 1].
        median: of the scores.
        histogram: counts in 20 equal bins of [0, 1].
    """

    since_ms: int
    until_ms: int
    count: int
    defective: float
    median: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class Drift:
    """The scores of a product in its latest week, compared with those of its reference weeks.

    Attributes:
        product: None for inspections that name none.
        latest: None if there was no inspection.
        reference: the first four weeks with the model, reference and threshold of the latest
            inspection, as far as the store holds them whole; None if there was none before the
            latest week.
        distance: of Kolmogorov and Smirnov, in [0, 1]; None if there are too few inspections.
        p_value: corrected for repeated looks and for the number of products; None the same.
    """

    product: str | None
    latest: Weeks | None
    reference: Weeks | None
    distance: float | None = None
    p_value: float | None = None

    @property
    def drifted(self) -> bool | None:
        """Whether it is an alarm; None if there are too few inspections to say so."""
        if self.distance is None or self.p_value is None:
            return None
        return self.distance > DISTANCE and self.p_value < LEVEL


def day_of(milliseconds: int) -> int:
    """Return the beginning of a day (UTC), in milliseconds since 1970."""
    return milliseconds - milliseconds % DAY_MS


def find_drifts(
    weeks: Mapping[str | None, tuple[Sequence[ScoreRow], Sequence[ScoreRow]]], end_ms: int
) -> list[Drift]:
    """Compare the weeks of each product.

    Args:
        weeks: inspections of the reference weeks and of the latest week, by product.
        end_ms: the end of the latest week.
    """
    tested = [name for name, (reference, latest) in weeks.items() if _enough(reference, latest)]
    begin_ms = end_ms - LATEST_DAYS * DAY_MS
    drifts = []
    for name, (reference, latest) in weeks.items():
        first = day_of(min((row.created_ms for row in reference), default=0))
        until = min(first + REFERENCE_DAYS * DAY_MS, begin_ms)
        known, now = _weeks(reference, first, until), _weeks(latest, begin_ms, end_ms)
        if name not in tested:
            drifts.append(Drift(name, now, known))
            continue
        distance, p_value = compare(_scores(reference), _scores(latest))
        drifts.append(Drift(name, now, known, distance, min(1.0, p_value * LOOKS * len(tested))))
    return drifts


def compare(reference: Scores, latest: Scores) -> tuple[float, float]:
    """Return the largest distance of two cumulative distributions, and its p-value.

    Args:
        reference: (m,) scores.
        latest: (n,) scores.
    """
    from scipy.stats import ks_2samp

    # Of many scores, the exact p-value takes seconds.
    found = ks_2samp(reference, latest, method="asymp")
    return float(found.statistic), float(found.pvalue)


def _enough(reference: Sequence[ScoreRow], latest: Sequence[ScoreRow]) -> bool:
    return len(latest) >= LEAST and len(reference) >= 2 * LEAST


def _scores(rows: Sequence[ScoreRow]) -> Scores:
    return np.array([row.pred_score for row in rows], np.float64)


def _weeks(rows: Sequence[ScoreRow], since_ms: int, until_ms: int) -> Weeks | None:
    if not rows:
        return None
    scores = _scores(rows)
    counts, _ = np.histogram(scores, BINS, (0.0, 1.0))
    return Weeks(
        since_ms,
        until_ms,
        len(rows),
        float(np.mean([bool(row.pred_label) for row in rows])),
        float(np.median(scores)),
        tuple(counts.tolist()),
    )
