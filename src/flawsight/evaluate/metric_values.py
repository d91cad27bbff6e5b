"""The results of evaluation: the value of one metric, for one detector on some images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricValue:
    """A metric's value with its uncertainty.

    Attributes:
        dataset: name of the data set.
        group: one of its categories; "macro", the mean over categories; or "pooled", over all
            images together.
        detector: its name.
        metric: key of METRICS.
        value: None if undefined, e.g. AUROC with one class only.
        low, high: 95 % bootstrap interval over images, or None.
        note: shown below the table, e.g. why there is no value.
    """

    dataset: str
    group: str
    detector: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class GroupCounts:
    """How many images the metric values of a group are computed from."""

    dataset: str
    group: str
    detector: str
    normal: int
    defective: int
    pixel_labelled: int
    failed: int
    missing: int


# Names as shown, in the order of the tables. All are in [0, 1], and higher is better except for the
# contradiction rate. "regions found" is region recall at one false alarm per image.
METRICS: dict[str, str] = {
    "image_auroc": "image AUROC",
    "image_aupr": "image AUPR",
    "image_f1_max": "image F1-max",
    "image_accuracy": "image ACC",
    "image_balanced_accuracy": "image balanced ACC",
    "pixel_auroc": "pixel AUROC",
    "pixel_aupr": "pixel AUPR",
    "pixel_f1_max": "pixel F1-max",
    "pixel_aupro": "pixel AUPRO",
    "pixel_accuracy": "pixel ACC",
    "region_recall": "regions found",
    "rouge_l": "ROUGE-L",
    "sbert": "SBERT",
    "contradiction_rate": "contradictions",
}
