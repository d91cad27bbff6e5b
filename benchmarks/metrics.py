"""Time and memory of the pixel figures: docs/results.md, section "metrics".

    python benchmarks/metrics.py [--masks 200] [--methods NAME ...] [--write]
                                 [--anomalib-python PATH]

Each method gets the same synthetic maps and masks in a process of its own, with a limit on what it
may allocate and on its time. What does not fit is reported as it is. Making the maps and loading
libraries is not timed; the memory is the peak of the whole process, libraries and maps included.
anomalib is large and may want other versions of the rest, so it can have an environment of its own.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import write_section

SIDE = 1024
GIB = 2**30
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


def ours(masks: int) -> tuple[Values, float]:
    """All four figures by streaming."""
    from error_bounds import (
        aupro_error,
        auroc_error,
        average_precision_error,
        f1_max_error,
    )

    from flawsight.metrics.pixel_counts import PixelCounter
    from flawsight.metrics.ranking import (
        aupro,
        auroc,
        average_precision,
        f1_max,
    )

    counter, seconds = PixelCounter(), 0.0
    for anomaly_map, gt_mask in maps(masks):
        start = time.perf_counter()
        counter.update(anomaly_map, gt_mask)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    counts = counter.counts()
    values = {
        "AUROC": float(auroc(counts)),
        "AUPR": float(average_precision(counts)),
        "F1-max": float(f1_max(counts)),
        "AUPRO": float(aupro(counts)),
    }
    seconds += time.perf_counter() - start
    if not counter.exact:
        values |= {
            "AUROC ±": float(auroc_error(counts)),
            "AUPR ±": float(average_precision_error(counts)),
            "F1-max ±": float(f1_max_error(counts)),
            "AUPRO ±": float(aupro_error(counts)),
        }
    return values, seconds


def sklearn_auroc(masks: int) -> tuple[Values, float]:
    """Exact AUROC of all pixels at once."""
    from sklearn.metrics import roc_auc_score

    truth, scores = _all_pixels(masks)
    start = time.perf_counter()
    values = {"AUROC": float(roc_auc_score(truth, scores))}
    return values, time.perf_counter() - start


def sklearn_both(masks: int) -> tuple[Values, float]:
    """Exact AUROC, average precision and F1-max of all pixels at once."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    truth, scores = _all_pixels(masks)
    start = time.perf_counter()
    values = {
        "AUROC": float(roc_auc_score(truth, scores)),
        "AUPR": float(average_precision_score(truth, scores)),
    }
    precision, recall, _ = precision_recall_curve(truth, scores)
    both = precision + recall
    values["F1-max"] = float((2 * precision * recall / np.where(both > 0, both, 1)).max())
    return values, time.perf_counter() - start


def torchmetrics_exact(masks: int) -> tuple[Values, float]:
    """Exact AUROC and average precision, updated map by map."""
    import torch
    from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

    metrics = {
        "AUROC": BinaryAUROC(thresholds=None, validate_args=False),
        "AUPR": BinaryAveragePrecision(thresholds=None, validate_args=False),
    }
    seconds = 0.0
    for anomaly_map, gt_mask in maps(masks):
        scores, truth = torch.from_numpy(anomaly_map), torch.from_numpy(gt_mask).long()
        start = time.perf_counter()
        for metric in metrics.values():
            metric.update(scores, truth)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    values = {name: float(metric.compute()) for name, metric in metrics.items()}
    return values, seconds + time.perf_counter() - start


def anomalib_rankings(masks: int) -> tuple[Values, float]:
    """Exact AUROC, AUPR and F1-max, updated map by map."""
    return _anomalib(masks, {"AUROC": "AUROC", "AUPR": "AUPR", "F1-max": "F1Max"})


def anomalib_aupro(masks: int) -> tuple[Values, float]:
    """Exact AUPRO, updated map by map."""
    return _anomalib(masks, {"AUPRO": "AUPRO"})


def _anomalib(masks: int, names: dict[str, str]) -> tuple[Values, float]:
    import torch
    from anomalib import metrics
    from anomalib.data import ImageBatch

    fields = ["anomaly_map", "gt_mask"]
    figures = {figure: getattr(metrics, name)(fields=fields) for figure, name in names.items()}
    no_image = torch.zeros(1, 3, 1, 1)  # a batch must have one; no figure looks at it
    seconds = 0.0
    for anomaly_map, gt_mask in maps(masks):
        scores, truth = torch.from_numpy(anomaly_map)[None], torch.from_numpy(gt_mask)[None]
        batch = ImageBatch(image=no_image, anomaly_map=scores, gt_mask=truth)
        start = time.perf_counter()
        for figure in figures.values():
            figure.update(batch)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    values = {name: float(figure.compute()) for name, figure in figures.items()}
    return values, seconds + time.perf_counter() - start


def _all_pixels(masks: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Gather into arrays of the final size, so that no copy counts."""
    scores = np.empty((masks, SIDE, SIDE), np.float32)
    truth = np.empty((masks, SIDE, SIDE), bool)
    for index, (anomaly_map, gt_mask) in enumerate(maps(masks)):
        scores[index], truth[index] = anomaly_map, gt_mask
    return truth.ravel(), scores.ravel()


METHODS: dict[str, Callable[[int], tuple[Values, float]]] = {
    "flawsight": ours,
    "sklearn-auroc": sklearn_auroc,
    "sklearn": sklearn_both,
    "torchmetrics": torchmetrics_exact,
    "anomalib": anomalib_rankings,
    "anomalib-aupro": anomalib_aupro,
}


def run_limited(
    python: str, method: str, masks: int, memory: int, seconds: float
) -> dict[str, Any]:
    """Run a method in its own process; the result has "failure" if it has no figures."""

    def limit() -> None:
        # Not the address space, of which a build of torch for CUDA takes gigabytes for its code.
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

    command = [python, __file__, "--masks", str(masks), "--child", method]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, preexec_fn=limit
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"not done after {seconds:.0f} s"}
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    if done.returncode == -signal.SIGKILL:
        return {"failure": "killed: the machine ran out of memory"}
    out_of_memory = ("MemoryError", "Unable to allocate", "can't allocate memory")
    if done.returncode < 0 or any(phrase in done.stderr for phrase in out_of_memory):
        return {"failure": f"needs more than {memory / GIB:.0f} GiB"}
    error = done.stderr.strip().rpartition("\n")[2]
    if error.startswith("ModuleNotFoundError"):
        return {"failure": f"skipped: {error}"}
    raise SystemExit(done.stderr)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--masks", type=int, default=200, help=f"maps of {SIDE}×{SIDE}")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--memory", type=float, default=16, help="limit of allocation, GiB")
    parser.add_argument("--seconds", type=float, default=900, help="limit of a method's process")
    parser.add_argument(
        "--anomalib-python", default=sys.executable, help="interpreter that has anomalib"
    )
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    parser.add_argument("--child", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        values, seconds = METHODS[arguments.child](arguments.masks)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"values": values, "seconds": seconds, "peak": peak}))
        return
    lines = [
        f"{arguments.masks} maps of {SIDE}×{SIDE}, synthetic.",
        "",
        "| method | seconds | peak memory, MiB | figures |",
        "|---|---|---|---|",
    ]
    for method in arguments.methods:
        anomalib = method.startswith("anomalib")
        result = run_limited(
            arguments.anomalib_python if anomalib else sys.executable,
            method,
            arguments.masks,
            int(arguments.memory * GIB),
            arguments.seconds,
        )
        if "failure" in result:
            lines.append(f"| {method} | – | – | {result['failure']} |")
            continue
        figures = ", ".join(
            f"{name} {value:.1e}" if "±" in name else f"{name} {value:.6f}"
            for name, value in result["values"].items()
        )
        lines.append(
            f"| {method} | {result['seconds']:.1f} | {result['peak'] / 2**20:.0f} | {figures} |"
        )
    print("\n".join(lines))
    if arguments.write:
        write_section("metrics", "\n".join(lines))


if __name__ == "__main__":
    main()
