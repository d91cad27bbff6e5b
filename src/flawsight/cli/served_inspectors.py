"""What `flawsight serve` inspects with: one inspector per product, which share the model."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from PIL import Image

from ..calibration import Calibration
from ..errors import ServeError
from ..inspector import Inspector
from ..reference.learn import learn
from ..reference.memory import Reference
from ..serve.references import NO_REFERENCES, ReadFile, References
from ..settings import Settings


def load_inspectors(
    known: Mapping[str, ReadFile],
    calibrations: Mapping[str | None, Calibration],
    model: str | None,
    *,
    settings: Settings,
    threshold: float | None,
    **options: Any,
) -> tuple[Inspector, References]:
    """Load the model once, and make the inspectors.

    Args:
        known: references by product; without any, there is one inspector for all.
        calibrations: by product; of None without references.
        model, settings, threshold, **options: of `Inspector.from_pretrained`.

    Raises:
        CalibrationError, LearnError: if a calibration or reference is of another model or other
            settings.
        ServeError: if there are prompt photos and several products.
        ModelError, SettingsError: as `Inspector.from_pretrained`.
    """
    if len(known) > 1 and options.get("prompt_photos"):
        raise ServeError(
            "--prompt-photo shows a part of one product, and there are several references; start "
            "one service per product."
        )
    product = next(iter(known), None)
    first = Inspector.from_pretrained(
        model, settings=settings, threshold=threshold, **options,
        reference=None if product is None else known[product][2],
        calibration=calibrations.get(product), category=_category(calibrations, product),
    )  # fmt: skip
    if product is None:
        return first, NO_REFERENCES

    def inspector_of(name: str, reference: Reference) -> Inspector:
        return Inspector(
            first.mllm, settings, first.batch_size, threshold, prior=first.prior,
            reference=reference, calibration=calibrations.get(name),
            category=_category(calibrations, name), prompt_photos=first.prompt_photos,
        )  # fmt: skip

    def learn_again(
        reference: Reference,
        photos: Sequence[tuple[str, Image.Image]],
        forget: Collection[str],
    ) -> Reference:
        return learn(first.mllm, photos, settings, reference, forget)

    held = () if threshold is not None else [name for name in calibrations if name is not None]
    return first, References(known, learn_again, inspector_of, held)


def _category(calibrations: Mapping[str | None, Calibration], product: str | None) -> str | None:
    """Return the product, if its calibration has a threshold for it alone."""
    found = calibrations.get(product)
    return product if found is not None and product in found.by_category else None
