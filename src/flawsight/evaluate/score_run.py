"""A cell of the bench → its figures: each category, all pooled, and the mean over categories.

What failed counts. An image without an answer has the wrong verdict; in a ranking it stands at the
wrong end; where it has no map, nothing in it is marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Sample
from ..data.masks import read_gt_mask
from ..metrics.bootstrap import bootstrap_weights, interval
from ..metrics.pixel_counts import CoarseCounts, PixelCounter, image_counts, stack
from ..metrics.ranking import ThresholdCounts, aupro, auroc, average_precision, counts_of, f1_max
from ..metrics.region_recall import Detections, detections, region_recall
from ..metrics.text_overlap import rouge_l, sbert
from ..runs.read import Row, read_array
from .bench import Cell
from .metric_values import METRICS, Figure, Tally

Array = NDArray[np.float64]
Values = dict[str, Array]
UNMARKED = np.finfo(np.float32).min


@dataclass
class _Group:
    """The images of one category, or of all, as far as they have been predicted."""

    samples: list[Sample] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    missing: int = 0
    pixels: PixelCounter | None = None
    # By the image's place in rows:
    coarse: dict[int, CoarseCounts] = field(default_factory=dict)
    peaks: dict[int, Detections] = field(default_factory=dict)


def score_cell(
    cell: Cell,
    *,
    resamples: int = 1000,
    seed: int = 0,
    pixel_threshold: float = 0.5,
    sbert_model: str | None = None,
) -> tuple[list[Figure], list[Tally]]:
    """Compute all figures of a cell from its run folder, the truth and the masks.

    Args:
        cell: what was predicted, and what is true.
        resamples: of the bootstrap over images, stratified by label.
        seed: of the bootstrap.
        pixel_threshold: from which anomaly_map value a pixel counts as marked, for pixel ACC.
        sbert_model: sentence-transformers model; None leaves SBERT out.

    Raises:
        RunFolderError: if a map cannot be read.
        DatasetError: if a mask cannot be read or does not fit its map.
    """
    found = cell.rows()
    groups: dict[str, _Group] = {}
    pooled = _Group()
    for sample in cell.samples:
        one = groups.setdefault(sample.category, _Group())
        row = found.get(str(sample.image))
        for group in (one, pooled):
            if row is None:
                group.missing += 1
            else:
                group.samples.append(sample)
                group.rows.append(row)
        if row is not None:
            _count_pixels(cell, sample, row, (one, pooled), pixel_threshold)
    figures: list[Figure] = []
    tallies = []
    by_group: dict[str, tuple[Values, Values]] = {}
    for index, (name, group) in enumerate({**groups, "pooled": pooled}.items()):
        by_group[name] = _values(group, resamples, seed + index, sbert_model)
        tallies.append(_tally(cell, name, group))
    for metric in METRICS:
        for name, (point, spread) in by_group.items():
            figures.append(_figure(cell, name, metric, point[metric], spread[metric]))
        defined = [by_group[name] for name in groups if not np.isnan(by_group[name][0][metric])]
        if defined:
            mean, spread_of_mean = (
                np.mean([d[i][metric] for d in defined], axis=0) for i in (0, 1)
            )
            left_out = len(groups) - len(defined)
            note = f"mean of {len(defined)} of {len(groups)} categories" if left_out else ""
            figures.append(_figure(cell, "macro", metric, mean, spread_of_mean, note))
        else:
            figures.append(Figure(cell.dataset, "macro", cell.detector, metric, None))
    tallies.append(replace(tallies[-1], group="macro"))
    return figures, tallies


def _figure(
    cell: Cell, group: str, metric: str, value: Array, spread: Array, note: str = ""
) -> Figure:
    if np.isnan(value):
        return Figure(cell.dataset, group, cell.detector, metric, None)
    low, high = interval(spread)
    if np.isnan(low):
        return Figure(cell.dataset, group, cell.detector, metric, float(value), note=note)
    return Figure(cell.dataset, group, cell.detector, metric, float(value), low, high, note)


def _tally(cell: Cell, name: str, group: _Group) -> Tally:
    labels = [sample.label for sample in group.samples]
    return Tally(
        dataset=cell.dataset,
        group=name,
        detector=cell.detector,
        normal=labels.count(0),
        defective=labels.count(1),
        pixel_labelled=sum(sample.pixel_labelled for sample in group.samples),
        failed=sum("error" in row for row in group.rows),
        missing=group.missing,
    )


def _count_pixels(
    cell: Cell, sample: Sample, row: Row, groups: Sequence[_Group], threshold: float
) -> None:
    if not sample.pixel_labelled or ("error" not in row and "anomaly_map" not in row):
        return
    if "error" in row:
        if sample.mask is None:
            return  # nothing is known of its size
        gt_mask = read_gt_mask(sample)
        anomaly_map = np.full(gt_mask.shape, UNMARKED, np.float32)
    else:
        anomaly_map = read_array(cell.folder, row, "anomaly_map")
        gt_mask = read_gt_mask(sample, (len(anomaly_map), anomaly_map[0].size))
    coarse, peaks = image_counts(anomaly_map, gt_mask), detections(anomaly_map, gt_mask)
    for group in groups:
        if group.pixels is None:
            group.pixels = PixelCounter(threshold=threshold)
        group.pixels.update(anomaly_map, gt_mask)
        group.coarse[len(group.rows) - 1] = coarse
        group.peaks[len(group.rows) - 1] = peaks


def _values(
    group: _Group, resamples: int, seed: int, sbert_model: str | None
) -> tuple[Values, Values]:
    """Return each metric's value, () and its bootstrap values, (resamples,). NaN: not defined."""
    labels = np.array([sample.label for sample in group.samples], dtype=np.int64)
    point = {metric: np.array(np.nan) for metric in METRICS}
    spread = {metric: np.full(resamples, np.nan) for metric in METRICS}
    if not len(labels):
        return point, spread
    weights = np.vstack([np.ones(len(labels)), bootstrap_weights(labels, resamples, seed)])
    values = _image_values(labels, group.rows, weights)
    for metric, value in (values | _text_values(group, weights, sbert_model)).items():
        point[metric], spread[metric] = value[0], value[1:]
    if group.pixels is not None:
        point |= _pixel_values(group.pixels.counts())
        point["pixel_accuracy"] = np.asarray(group.pixels.accuracy())
        drawn = stack(list(group.coarse.values())).resampled(weights[1:, list(group.coarse)])
        chunks = [_pixel_values(counts) for counts in drawn]
        spread |= {metric: np.concatenate([c[metric] for c in chunks]) for metric in chunks[0]}
        recall = region_recall(list(group.peaks.values()), weights[:, list(group.peaks)])
        point["region_recall"], spread["region_recall"] = recall[0], recall[1:]
    return point, spread


def _image_values(labels: NDArray[np.int64], rows: Sequence[Row], weights: Array) -> Values:
    """Metrics of scores and verdicts for (B, n) weights of the images: (B,) each."""
    values: Values = {}
    given = [row.get("pred_score") for row in rows]
    known = [score for score in given if score is not None]
    if known and all(g is not None or "error" in row for g, row in zip(given, rows, strict=True)):
        ends = (max(known) + 1, min(known) - 1)  # where a failed normal, defective image stands
        scores = np.array(
            [ends[y] if s is None else s for s, y in zip(given, labels, strict=True)], dtype=float
        )
        counts = counts_of(labels, scores, weights)
        values["image_auroc"] = auroc(counts)
        values["image_aupr"] = average_precision(counts)
        values["image_f1_max"] = f1_max(counts)[0]
    verdicts = [row.get("pred_label") for row in rows]
    if any(verdict is not None for verdict in verdicts):
        right = np.array(
            [v is not None and bool(v) == bool(y) for v, y in zip(verdicts, labels, strict=True)]
        )
        values["image_accuracy"] = (weights * right).sum(1) / weights.sum(1)
        if 0 < labels.sum() < len(labels):
            values["image_balanced_accuracy"] = np.mean(
                [
                    (weights * right)[:, labels == y].sum(1) / weights[:, labels == y].sum(1)
                    for y in (0, 1)
                ],
                axis=0,
            )
    return values


def _text_values(group: _Group, weights: Array, sbert_model: str | None) -> Values:
    values: Values = {}
    flags = [row.get("contradiction") for row in group.rows]
    if chosen := [index for index, flag in enumerate(flags) if flag is not None]:
        contradicting = np.array([float(group.rows[index]["contradiction"]) for index in chosen])
        values["contradiction_rate"] = _weighted_mean(contradicting, weights[:, chosen])
    chosen = [
        index
        for index, (sample, row) in enumerate(zip(group.samples, group.rows, strict=True))
        if sample.reference is not None and row.get("explanation") is not None
    ]
    if chosen:
        said = [group.rows[index]["explanation"] for index in chosen]
        wanted = [group.samples[index].reference or "" for index in chosen]
        values["rouge_l"] = _weighted_mean(rouge_l(said, wanted), weights[:, chosen])
        if sbert_model is not None:
            values["sbert"] = _weighted_mean(sbert(said, wanted, sbert_model), weights[:, chosen])
    return values


def _weighted_mean(values: Array, weights: Array) -> Array:
    with np.errstate(invalid="ignore"):
        mean: Array = (weights * values).sum(1) / weights.sum(1)
    return mean


def _pixel_values(counts: ThresholdCounts) -> Values:
    return {
        "pixel_auroc": auroc(counts),
        "pixel_aupr": average_precision(counts),
        "pixel_f1_max": f1_max(counts)[0],
        "pixel_aupro": aupro(counts),
    }
