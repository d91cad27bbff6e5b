"""What papers report of this and other systems, for comparison only: none of it was run here.

The figures lie in published.csv, in percent as printed. The image "AUROC" that Jin et al. give for
systems that only answer fits the balanced accuracy of hard answers, not the AUROC of a score; it
has a metric of its own, `image_auroc_published`, so that it never stands beside ours. Where the
paper does not say which size of a model a figure is of, the system's name holds none.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from .metric_values import METRICS

REFERENCE = "Jin et al., CVPR 2026"
AVERAGE = "average"
# As shown. Only the first is no metric of ours.
PUBLISHED_METRICS: dict[str, str] = {
    "image_auroc_published": "image “AUROC” as published"
} | METRICS


@dataclass(frozen=True)
class Published:
    """One figure of a paper.

    Attributes:
        system: name and size of the model, and how it was trained and its map made.
        dataset: name of the data set; "average" for the mean over KolektorSDD, DTD-Synthetic,
            WFDD and MVTec-AD.
        metric: key of PUBLISHED_METRICS.
        value: in [0, 1].
        supervision: what anomaly labels it was trained on: "none", "image labels", "masks" or
            "not stated".
        source: the paper, and the table where it is known.
    """

    system: str
    dataset: str
    metric: str
    value: float
    supervision: str
    source: str


@cache
def published_figures() -> tuple[Published, ...]:
    """Return all of them, in the order of the tables."""
    text = files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            system=row["system"],
            dataset=row["dataset"],
            metric=row["metric"],
            # 57.2 / 100 is not 0.572 in floating point; the tables and the CSV want the latter.
            value=round(float(row["percent"]) / 100, 6),
            supervision=row["supervision"],
            source=row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    )
