"""When an image is called defective by its distance from good photos."""

from ..calibration import Calibration
from ..errors import SettingsError
from ..settings import Settings
from .memory import Reference


def check_use(
    settings: Settings,
    reference: Reference | None,
    rate: float | None,
    threshold: float | None,
    calibration: Calibration | None,
) -> None:
    """Check a threshold, and that a reference is there if it is needed and can keep to a rate.

    Args:
        settings: without words, a reference is needed.
        reference: of good photos, or None.
        rate: of false alarms that its threshold promises, in (0, 1), or None.
        threshold: in [0, 1], or None; must not be given beside a rate.
        calibration: the same.

    Raises:
        CalibrationError: if the reference has too few photos for the rate.
        SettingsError: if there is no reference, something else gives the threshold, or it lies
            outside of [0, 1].
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise SettingsError(f"threshold is {threshold}; it must be in [0, 1].")
    if reference is None and settings.explain != "always":
        raise SettingsError(
            f"explain is {settings.explain!r}, which needs a reference of good photos "
            "(flawsight learn, --reference): without words only it can tell defects."
        )
    if rate is None:
        return
    if reference is None:
        raise SettingsError(
            "A false alarm rate needs a reference of good photos (flawsight learn, --reference): "
            "their scores give the threshold."
        )
    if threshold is not None or calibration is not None:
        raise SettingsError("Give only one of a threshold, a calibration and a false alarm rate.")
    reference.threshold(rate)


def threshold_of(
    settings: Settings, reference: Reference | None, rate: float | None, given: float | None
) -> float | None:
    """Return the given threshold, or else that of the reference or of the settings.

    Raises:
        CalibrationError: if the reference has too few photos for the rate.
    """
    if given is not None:
        return given
    if reference is None:
        return settings.threshold
    if rate is None and not reference.scores:
        return 0.5  # one photo has no score; it is the middle of the scale of distances
    return reference.threshold(rate)
