"""What papers report of this and other systems, for comparison only: none of it was run here.

published.csv holds the values in percent as printed. Jin et al. give an image "AUROC" for systems
that only answer Yes or No. It matches the balanced accuracy of the answers, not the AUROC of a
score, and is a metric of its own here: `image_auroc_published`. A system's name has no model size
if the paper does not state it.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from .metric_values import METRICS

REFERENCE = "Jin et al., CVPR 2026"
AVERAGE = "average"
# Names as shown. Only the first is not in METRICS.
PUBLISHED_METRICS: dict[str, str] = {
    "image_auroc_published": "image “AUROC” as published"
} | METRICS


@dataclass(frozen=True)
class PublishedValue:
    """The value of one metric in a paper.

    Attributes:
        system: the model with its size, how it was trained, and how its map is made.
        dataset: name of the data set; "average" for the mean over KolektorSDD, DTD-Synthetic,
            WFDD and MVTec-AD.
        metric: key of PUBLISHED_METRICS.
        value: in [0, 1].
        supervision: the anomaly labels it was trained on: "none", "image labels", "masks" or
            "not stated".
        source: the paper, and its table if known.
    """

    system: str
    dataset: str
    metric: str
    value: float
    supervision: str
    source: str


@cache
def published_values() -> tuple[PublishedValue, ...]:
    """Return all of them, in the order of the tables."""
    text = files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    # Unrounded, 57.2 / 100 would not be 0.572 in floating point.
    return tuple(
        PublishedValue(value=round(float(row.pop("percent")) / 100, 6), **row)
        for row in csv.DictReader(text.splitlines())
    )
