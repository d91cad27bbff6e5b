"""What images are inspected with, all of it made at once; a reload replaces it whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .batching import InspectBatch
from .references import References


@dataclass(frozen=True)
class Setup:
    """What images are inspected with.

    Attributes:
        inspect_batch: the `Inspector`'s, of images without a reference.
        thresholds: by product, in place of the Inspector's.
        about: stored with every inspection: the model's name and hash.
        references: of good photos, by product.
        cut_to: returns the `inspect_batch` of a region of interest, the same one each time; None
            if references, a calibration or prompt photos fix what is seen.
    """

    inspect_batch: InspectBatch
    thresholds: Mapping[str, float]
    about: Mapping[str, Any]
    references: References
    cut_to: Callable[[str], InspectBatch] | None = None
