"""Time and memory of the pixel metrics; docs/results.md, section "metrics".

    python benchmarks/metric_speed.py [--masks 200] [--write]

Each method gets the same synthetic maps and masks in a process of its own. A process that fails
gets a row that says so. Making the maps and importing are not timed; memory is the peak of the
whole process.
"""

import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pages import markdown, parser_of, publish

SIDE = 1024
COLUMNS = ["method", "seconds", "peak memory, MiB", "metrics"]
Pair = tuple[NDArray[np.float32], NDArray[np.bool_]]
Values = dict[str, float]


def maps(masks: int) -> Iterator[Pair]:
    """Yield smooth random maps in [0, 1] that are higher in two blobs, and the blobs' masks."""
    from scipy import ndimage

    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    for seed in range(masks):
        random = np.random.default_rng(seed)
        rough = random.random((SIDE // 16, SIDE // 16), dtype=np.float32)
        anomaly_map = ndimage.zoom(rough, 16, order=1) * np.float32(0.7)
        gt_mask = np.zeros((SIDE, SIDE), bool)
        for _ in range(2):
            radius, (row, column) = random.uniform(10, 120), random.uniform(0, SIDE, 2)
            gt_mask |= (x - column) ** 2 + (y - row) ** 2 < radius**2
        anomaly_map[gt_mask] += np.float32(0.2)
        yield np.clip(anomaly_map, 0, 1), gt_mask


def streamed(
    masks: int, update: Callable[[Any, Any], object], compute: Callable[[], Values]
) -> tuple[Values, float]:
    """Update map by map; return the metrics and the seconds of updating and computing."""
    seconds = 0.0
    for anomaly_map, gt_mask in maps(masks):
        start = time.perf_counter()
        update(anomaly_map, gt_mask)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    values = compute()
    return values, seconds + time.perf_counter() - start


def ours(masks: int) -> tuple[Values, float]:
    """All four metrics by streaming, each with its bound."""
    from flawsight.metrics import ranking
    from flawsight.metrics.pixel_counts import PixelCounter

    counter = PixelCounter()
    names = {"AUROC": "auroc", "AUPR": "average_precision", "F1-max": "f1_max", "AUPRO": "aupro"}

    def compute() -> Values:
        counts = counter.counts()
        values = {m: np.ravel(getattr(ranking, name)(counts))[0] for m, name in names.items()}
        if not counter.exact:
            for metric, name in names.items():
                values[f"{metric} ±"] = getattr(ranking, f"{name}_error")(counts)
        return {metric: float(value) for metric, value in values.items()}

    return streamed(masks, counter.update, compute)


def scikit_learn(masks: int) -> tuple[Values, float]:
    """Exact AUROC, average precision and F1-max of all pixels at once."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    # Arrays of the final size: no copy is made.
    scores = np.empty((masks, SIDE, SIDE), np.float32)
    truth = np.empty((masks, SIDE, SIDE), bool)
    for index, (anomaly_map, gt_mask) in enumerate(maps(masks)):
        scores[index], truth[index] = anomaly_map, gt_mask
    start = time.perf_counter()
    values = {
        "AUROC": float(roc_auc_score(truth.ravel(), scores.ravel())),
        "AUPR": float(average_precision_score(truth.ravel(), scores.ravel())),
    }
    precision, recall, _ = precision_recall_curve(truth.ravel(), scores.ravel())
    both = precision + recall
    values["F1-max"] = float((2 * precision * recall / np.where(both > 0, both, 1)).max())
    return values, time.perf_counter() - start


def torchmetrics_exact(masks: int) -> tuple[Values, float]:
    """Exact AUROC and average precision, updated map by map."""
    import torch
    from torchmetrics import MetricCollection
    from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

    options: dict[str, Any] = {"thresholds": None, "validate_args": False}
    both = {"AUROC": BinaryAUROC(**options), "AUPR": BinaryAveragePrecision(**options)}
    metrics = MetricCollection(both, compute_groups=False)
    return streamed(
        masks,
        lambda scores, truth: metrics.update(
            torch.from_numpy(scores), torch.from_numpy(truth).long()
        ),
        lambda: {name: float(value) for name, value in metrics.compute().items()},
    )


METHODS = {"flawsight": ours, "sklearn": scikit_learn, "torchmetrics": torchmetrics_exact}


def measured(method: str, masks: int) -> dict[str, Any]:
    """Run a method in this process."""
    values, seconds = METHODS[method](masks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"values": values, "seconds": seconds, "peak": peak}


def row_of(method: str, masks: int) -> list[str]:
    """Run a method in a process of its own; return the row of the table."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            result = pool.submit(measured, method, masks).result()
        except Exception as error:  # such as having been killed for memory
            return [method, "–", "–", str(error)]
    values = ", ".join(
        f"{name} {value:.1e}" if "±" in name else f"{name} {value:.6f}"
        for name, value in result["values"].items()
    )
    return [method, f"{result['seconds']:.1f}", f"{result['peak'] / 2**20:.0f}", values]


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("--masks", type=int, default=200, help=f"maps of {SIDE}×{SIDE}")
    arguments = parser.parse_args()
    rows = [row_of(method, arguments.masks) for method in METHODS]
    shown = f"{arguments.masks} maps of {SIDE}×{SIDE}, synthetic.\n\n{markdown(COLUMNS, rows)}"
    publish("metrics", shown, arguments.write)


if __name__ == "__main__":
    main()
