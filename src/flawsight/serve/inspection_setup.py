"""What images are inspected with, all of it made at once; a reload replaces it whole."""

from collections.abc import Mapping
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
    """

    inspect_batch: InspectBatch
    thresholds: Mapping[str, float]
    about: Mapping[str, Any]
    references: References
