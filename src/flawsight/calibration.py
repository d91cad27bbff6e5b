"""Calibration: the threshold that keeps false alarms below a rate, from normal images alone.

Split-conformal (Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005; Lei et al.,
Distribution-Free Predictive Inference for Regression, JASA 2018): of n normal scores the threshold
is the ⌈(n + 1)(1 − a)⌉-th smallest, and a part is called defective iff its score is above it. A new
normal part, exchangeable with those n, is then called defective with probability at most a. The
n + 1 instead of n is the finite-sample correction: the new part is one of n + 1 in random order.
The probability is over the calibration images too; it is no promise for one particular set.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Self

from .errors import CalibrationError
from .io.files import write_atomically
from .roi import roi_in_words
from .settings import DRAWING, Settings, shown_value, upgraded

FORMAT = 2
POOLED = "all"
# Said of what version 0.1 wrote with any model but the bundled one.
EARLIER_HASH = ", or by version 0.1, whose hash of a model is of its weights alone"


@dataclass(frozen=True)
class NormalScores:
    """The pred_scores of one model on normal images.

    Attributes:
        by_category: finite scores, by product.
        skipped: how many normal images have no score because they failed.
        model: "name" and "sha256" of the model, as far as the run tells.
        settings: of the inspections, as JSON types.
        prior_sha256, reference_sha256: of the attention prior and the reference of good photos of
            the inspections, if they were used.
        peaks: the `map_peak` of each image, by product; empty if the run does not say.
        format: of the run; format 1 does not record the prior.
        prompt_photos_sha256: of the photos of good parts in the prompts; None without any.
    """

    by_category: dict[str, tuple[float, ...]]
    skipped: int
    model: dict[str, Any]
    settings: dict[str, Any] | None
    prior_sha256: str | None = None
    peaks: dict[str, tuple[float, ...]] = field(default_factory=dict)
    format: int = FORMAT
    reference_sha256: str | None = None
    prompt_photos_sha256: str | None = None

    @property
    def pooled(self) -> tuple[float, ...]:
        """All scores together."""
        return tuple(chain(*self.by_category.values()))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Thresholds with what they hold for: the content of calibration.json.

    Attributes:
        format: of the file or run that it comes from; format 1 does not record the prior.
        created: time in UTC, ISO 8601.
        false_alarm_rate: a, in (0, 1).
        thresholds: "all" for all categories together, and one a category if calibrated so.
        region_thresholds: the same of maps: a new good image has a suspect region with probability
            a at most. Empty if the run does not say `map_peak`.
        counts: how many normal scores each threshold comes from.
        model: "name" and "sha256" of the model that gave the scores.
        prior_sha256, reference_sha256: of the attention prior and the reference of good photos that
            were used, if they were.
        settings: with which it gave them, as JSON types.
        prompt_photos_sha256: of the photos of good parts in the prompts; None without any.
    """

    format: int
    created: str
    false_alarm_rate: float
    thresholds: dict[str, float]
    region_thresholds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int]
    model: dict[str, Any]
    prior_sha256: str | None = None
    reference_sha256: str | None = None
    settings: dict[str, Any] | None
    prompt_photos_sha256: str | None = None

    @property
    def by_category(self) -> dict[str, float]:
        """Thresholds of single categories."""
        return {name: value for name, value in self.thresholds.items() if name != POOLED}

    def region_threshold(self, category: str | None = None) -> float | None:
        """Return the threshold of maps, of a category or of all; None if there is none."""
        return self.region_thresholds.get(POOLED if category is None else category)

    def threshold(self, category: str | None = None) -> float:
        """Return the threshold of a category, or of all together for None.

        Raises:
            CalibrationError: if that category was not calibrated.
        """
        name = POOLED if category is None else category
        if name not in self.thresholds:
            known = ", ".join(sorted(set(self.thresholds) - {POOLED}))
            raise CalibrationError(
                f"The calibration has no threshold for the category {name}; "
                + (f"it has {known}." if known else "make one with calibrate --by-category.")
            )
        return self.thresholds[name]

    def check(
        self,
        model_sha256: str,
        settings: dict[str, Any],
        prior_sha256: str | None,
        reference_sha256: str | None = None,
        prompt_photos_sha256: str | None = None,
    ) -> None:
        """Make sure that it holds for scores of this model, settings, prior, reference and photos.

        Raises:
            CalibrationError: if it was made with another model, other settings or other photos.
        """
        if self.model.get("sha256") != model_sha256:
            raise CalibrationError(
                f"The calibration was made with another model ({self.model.get('name')}, sha256 "
                f"{str(self.model.get('sha256'))[:12]}…, not {model_sha256[:12]}…)"
                f"{EARLIER_HASH if self.format == 1 else ''}; calibrate this model with flawsight "
                "calibrate."
            )
        more = {"prior": prior_sha256, "reference": reference_sha256}
        self.check_settings(settings, more if self.format > 1 else {})
        if self.prompt_photos_sha256 != prompt_photos_sha256:
            before, now = (
                f"the photos {sha256[:12]}…" if sha256 else "no photos"
                for sha256 in (self.prompt_photos_sha256, prompt_photos_sha256)
            )
            raise CalibrationError(
                f"The calibration was made with {before} of good parts in the prompt, not {now}; "
                "give the same --prompt-photo files, or calibrate again with these."
            )

    def check_settings(self, settings: dict[str, Any], more: dict[str, Any] | None = None) -> None:
        """Make sure that it holds for scores and maps of these settings.

        Args:
            settings: as JSON types.
            more: "prior" and "reference", their hashes, to be compared as well.

        Raises:
            CalibrationError: if it was made with other settings.
        """
        defaults = Settings().to_json()
        before = defaults | upgraded(self.settings or {})
        now = defaults | settings | (more or {})
        if more:
            before |= {"prior": self.prior_sha256, "reference": self.reference_sha256}
        different = {k for k in before | now if before.get(k) != now.get(k)}
        changed = sorted(different - set(DRAWING))
        if "roi" in changed:
            raise CalibrationError(
                f"The calibration was made with {roi_in_words(before['roi'])}, not "
                f"{roi_in_words(now['roi'])}; give the same --roi, or calibrate again with "
                "this one."
            )
        if changed:
            made_with = ", ".join(f"{key} {shown_value(before.get(key))}" for key in changed[:3])
            raise CalibrationError(
                f"The calibration was made with other settings ({made_with}); inspect with those, "
                "or calibrate again with these."
            )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a calibration.json.

        Raises:
            CalibrationError: if it is missing or damaged, or of another format.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            if values["format"] not in (1, FORMAT):
                raise CalibrationError(
                    f"{path} has the format {values['format']}, not {FORMAT}; calibrate again."
                )
            calibration = cls(**values)
            for thresholds in (calibration.thresholds, calibration.region_thresholds):
                if not all(0 <= float(threshold) <= 1 for threshold in thresholds.values()):
                    raise ValueError("a threshold lies outside [0, 1]")
            for part in (calibration.model, calibration.settings or {}, calibration.counts):
                if not isinstance(part, dict):
                    raise TypeError(f"{part!r} is no object")
            return calibration
        except Exception as error:  # a damaged file can hold values of any kind
            raise CalibrationError(
                f"{path} is no readable calibration ({error}); make one with flawsight calibrate."
            ) from error

    def save(self, path: Path) -> None:
        """Write calibration.json, whole or not at all.

        Raises:
            CalibrationError: if it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            values = asdict(self)
            if self.prompt_photos_sha256 is None:  # unknown to earlier versions
                del values["prompt_photos_sha256"]
            write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())
        except OSError as error:
            raise CalibrationError(f"Cannot write {path}: {error.strerror or error}.") from error


def conformal_threshold(scores: Sequence[float], false_alarm_rate: float) -> float:
    """Return the ⌈(n + 1)(1 − a)⌉-th smallest of n normal scores.

    Args:
        scores: n finite scores of normal images, higher for a defect.
        false_alarm_rate: a, in (0, 1).

    Raises:
        CalibrationError: if a is not in (0, 1), a score is not finite, or n is too small for a.
    """
    if not all(math.isfinite(score) for score in scores):
        raise CalibrationError("A score is NaN or infinite; inspect those images again.")
    return sorted(scores)[conformal_rank(len(scores), false_alarm_rate) - 1]


def conformal_rank(count: int, false_alarm_rate: float) -> int:
    """Return ⌈(n + 1)(1 − a)⌉ for n normal scores.

    Raises:
        CalibrationError: if a is not in (0, 1), or n is too small for a.
    """
    if not 0 < false_alarm_rate < 1:
        raise CalibrationError(
            f"The false alarm rate is {false_alarm_rate}; it must be between 0 and 1, like 0.01."
        )
    # The decimal as it was typed: in floats, (n + 1)(1 − a) may land just above an integer.
    rate = Fraction(str(float(false_alarm_rate)))
    rank = math.ceil((count + 1) * (1 - rate))
    if rank > count:
        allowed = f"{count} allow {1 / (count + 1):.3g} or more" if count else "there are none"
        raise CalibrationError(
            f"A false alarm rate of {false_alarm_rate:g} needs at least {math.ceil(1 / rate) - 1} "
            f"normal images; {allowed}."
        )
    return rank


def calibrate(
    scores: NormalScores, false_alarm_rate: float, by_category: bool = False
) -> Calibration:
    """Compute the thresholds: one for all, and if `by_category` one for each category.

    Raises:
        CalibrationError: if the rate makes no sense, or there are too few images for it.
    """
    groups: dict[str, Sequence[float]] = {POOLED: scores.pooled}
    if by_category:
        _check_names(scores.by_category)
        groups |= dict(sorted(scores.by_category.items()))
    thresholds = {}
    for name, group in groups.items():
        try:
            thresholds[name] = conformal_threshold(group, false_alarm_rate)
        except CalibrationError as error:
            raise CalibrationError(f"{name}: {error}" if by_category else str(error)) from error
    peaks = scores.peaks | {POOLED: tuple(chain(*scores.peaks.values()))}
    return Calibration(
        format=scores.format,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        false_alarm_rate=false_alarm_rate,
        thresholds=thresholds,
        region_thresholds={
            name: conformal_threshold(peaks[name], false_alarm_rate)
            for name, group in groups.items()
            if len(peaks.get(name, ())) == len(group)
        },
        counts={name: len(group) for name, group in groups.items()},
        model=scores.model,
        prior_sha256=scores.prior_sha256,
        reference_sha256=scores.reference_sha256,
        settings=scores.settings,
        prompt_photos_sha256=scores.prompt_photos_sha256,
    )


def check_counts(counts: Mapping[str, int], false_alarm_rate: float, by_category: bool) -> None:
    """Make sure that there are enough normal images, before any is inspected.

    Args:
        counts: of the images, by category.
        false_alarm_rate: a, in (0, 1).
        by_category: whether each category needs as many.

    Raises:
        CalibrationError: as `calibrate` does, if none of the images fails.
    """
    if not by_category:
        conformal_rank(sum(counts.values()), false_alarm_rate)
        return
    _check_names(counts)
    for name, count in sorted(counts.items()):
        try:
            conformal_rank(count, false_alarm_rate)
        except CalibrationError as error:
            raise CalibrationError(f"{name}: {error}") from error


def _check_names(categories: Collection[str]) -> None:
    if POOLED in categories:
        raise CalibrationError(
            f'A category is called "{POOLED}", which stands for all together; rename it.'
        )
