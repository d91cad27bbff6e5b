"""A detector run → its metric values: per category, all images pooled, mean over categories.

Failed images count. An image without an answer has the wrong verdict and is ranked at the wrong
end; without a map, or with a damaged one, none of its pixels is marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Sample
from ..data.masks import read_gt_mask
from ..errors import ArrayDeletedError, RunFolderError
from ..metrics.bootstrap import bootstrap_weights, interval
from ..metrics.pixel_counts import PixelCounter, image_counts, resampled
from ..metrics.ranking import ThresholdCounts, aupro, auroc, average_precision, counts_of, f1_max
from ..metrics.region_recall import Detections, detections, region_recall
from ..metrics.text_overlap import rouge_l, sbert
from ..runs.read import Row, read_array
from ..runs.unasked import is_unasked
from .bench import DetectorRun
from .metric_values import METRICS, GroupCounts, MetricValue

Array = NDArray[np.float64]
Values = dict[str, Array]
UNMARKED = np.finfo(np.float32).min


@dataclass
class _Group:
    """The images of one category, or of all, that have been predicted."""

    samples: list[Sample] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    missing: int = 0
    pixels: PixelCounter | None = None
    marked: bool = False  # some pixel is defective
    damaged: list[str] = field(default_factory=list)  # maps
    # By the image's index in rows:
    coarse: dict[int, ThresholdCounts] = field(default_factory=dict)
    peaks: dict[int, Detections] = field(default_factory=dict)


def score_run(
    run: DetectorRun,
    *,
    resamples: int = 1000,
    pixel_threshold: float = 0.5,
    sbert_model: str | None = None,
) -> tuple[list[MetricValue], list[GroupCounts]]:
    """Compute all metrics of a detector run from its predictions, labels and masks.

    Args:
        run: the samples and the run folder.
        resamples: of the bootstrap over images, stratified by label.
        pixel_threshold: for pixel ACC, a pixel is marked iff anomaly_map ≥ it.
        sbert_model: sentence-transformers model; None leaves SBERT out.

    Raises:
        ArrayDeletedError: if a map is gone.
        DatasetError: if a mask cannot be read or does not fit its map.
    """
    rows = run.rows()
    groups: dict[str, _Group] = {}
    pooled = _Group()
    for sample in run.samples:
        category = groups.setdefault(sample.category, _Group())
        row = rows.get(str(sample.image))
        for group in (category, pooled):
            if row is None:
                group.missing += 1
            else:
                group.samples.append(sample)
                group.rows.append(row)
        if row is not None:
            _count_pixels(run, sample, row, (category, pooled), pixel_threshold)
    counts = []
    by_group: dict[str, tuple[Values, Values]] = {}
    for seed, (name, group) in enumerate({**groups, "pooled": pooled}.items()):
        by_group[name] = _values(group, resamples, seed, sbert_model)
        counts.append(_group_counts(run, name, group))
    counts.append(replace(counts[-1], group="macro"))
    notes = {name: _pixel_note(group) for name, group in groups.items() if pooled.marked}
    notes["pooled"] = _pixel_note(pooled)
    values: list[MetricValue] = []
    for metric in METRICS:
        of_pixels = metric.startswith("pixel")
        for name, (point, drawn) in by_group.items():
            note = notes.get(name, "") if of_pixels else ""
            values.append(_metric_value(run, name, metric, point[metric], drawn[metric], note))
        pixel_note = notes["pooled"] if of_pixels else ""
        defined = [by_group[name] for name in groups if not np.isnan(by_group[name][0][metric])]
        if defined:
            mean, drawn_mean = (np.mean([d[i][metric] for d in defined], axis=0) for i in (0, 1))
            left_out = len(groups) - len(defined)
            of_some = f"mean of {len(defined)} of {len(groups)} categories" if left_out else ""
            note = "; ".join(filter(None, (of_some, pixel_note)))
            values.append(_metric_value(run, "macro", metric, mean, drawn_mean, note))
        else:
            values.append(
                MetricValue(run.dataset, "macro", run.detector, metric, None, note=pixel_note)
            )
    return values, counts


def _metric_value(
    run: DetectorRun, group: str, metric: str, value: Array, drawn: Array, note: str = ""
) -> MetricValue:
    """Combine a value () with the interval of its (resamples,) bootstrap values; NaN: undefined."""
    if np.isnan(value):
        return MetricValue(run.dataset, group, run.detector, metric, None, note=note)
    low, high = (None if np.isnan(end) else end for end in interval(drawn))
    return MetricValue(run.dataset, group, run.detector, metric, float(value), low, high, note)


def _pixel_note(group: _Group) -> str:
    """Say what the pixel metrics of a group lack; nothing if it has no maps at all."""
    if group.pixels is None:
        return ""
    if not group.marked:
        return "no pixel metrics: no mask with a defective pixel was read"
    unmasked = sum(not sample.pixel_labelled for sample in group.samples)
    notes = [f"without {unmasked} defective images that have no mask"] if unmasked else []
    if group.damaged:
        names = ", ".join(group.damaged[:3]) + ", …" * (len(group.damaged) > 3)
        notes.append(f"{len(group.damaged)} damaged maps count as unmarked: {names}")
    return "; ".join(notes)


def _group_counts(run: DetectorRun, name: str, group: _Group) -> GroupCounts:
    labels = [sample.label for sample in group.samples]
    return GroupCounts(
        dataset=run.dataset,
        group=name,
        detector=run.detector,
        normal=labels.count(0),
        defective=labels.count(1),
        pixel_labelled=sum(sample.pixel_labelled for sample in group.samples),
        failed=sum("error" in row for row in group.rows),
        missing=group.missing,
    )


def _count_pixels(
    run: DetectorRun, sample: Sample, row: Row, groups: Sequence[_Group], threshold: float
) -> None:
    if not sample.pixel_labelled or ("error" not in row and "anomaly_map" not in row):
        return
    anomaly_map = None
    if "error" not in row:
        try:
            anomaly_map = read_array(run.folder, row, "anomaly_map")
        except ArrayDeletedError:
            raise
        except RunFolderError:
            for group in groups:
                group.damaged.append(str(row["anomaly_map"]))
    if anomaly_map is not None:
        gt_mask = read_gt_mask(sample, (len(anomaly_map), anomaly_map[0].size))
    elif sample.mask is not None:
        gt_mask = read_gt_mask(sample)
        anomaly_map = np.full(gt_mask.shape, UNMARKED, np.float32)
    else:
        return  # the image's size is unknown
    coarse, peaks = image_counts(anomaly_map, gt_mask), detections(anomaly_map, gt_mask)
    for group in groups:
        if group.pixels is None:
            group.pixels = PixelCounter(threshold=threshold)
        group.pixels.update(anomaly_map, gt_mask)
        group.marked |= bool(gt_mask.any())
        group.coarse[len(group.rows) - 1] = coarse
        group.peaks[len(group.rows) - 1] = peaks


def _values(
    group: _Group, resamples: int, seed: int, sbert_model: str | None
) -> tuple[Values, Values]:
    """Return each metric's value, (), and its bootstrap values, (resamples,); NaN: undefined."""
    labels = np.array([sample.label for sample in group.samples], dtype=np.int64)
    point = {metric: np.array(np.nan) for metric in METRICS}
    drawn = {metric: np.full(resamples, np.nan) for metric in METRICS}
    if not len(labels):
        return point, drawn
    weights = np.vstack([np.ones(len(labels)), bootstrap_weights(labels, resamples, seed)])
    values = _image_values(labels, group.rows, weights)
    for metric, value in (values | _text_values(group, weights, sbert_model)).items():
        point[metric], drawn[metric] = value[0], value[1:]
    if group.pixels is not None and group.marked:
        point |= _pixel_values(group.pixels.counts())
        point["pixel_accuracy"] = np.asarray(group.pixels.accuracy())
        draws = resampled(list(group.coarse.values()), weights[1:, list(group.coarse)])
        chunks = [_pixel_values(counts) for counts in draws]
        drawn |= {metric: np.concatenate([c[metric] for c in chunks]) for metric in chunks[0]}
        recall = region_recall(list(group.peaks.values()), weights[:, list(group.peaks)])
        point["region_recall"], drawn["region_recall"] = recall[0], recall[1:]
    return point, drawn


def _image_values(labels: NDArray[np.int64], rows: Sequence[Row], weights: Array) -> Values:
    """Metrics of scores and verdicts for (B, n) weights of the images: (B,) each."""
    values: Values = {}
    given = [row.get("pred_score") for row in rows]
    known = [score for score in given if score is not None]
    if known and all(g is not None or "error" in row for g, row in zip(given, rows, strict=True)):
        ends = (max(known) + 1, min(known) - 1)  # scores of a failed normal, defective image
        scores = np.array(
            [ends[y] if s is None else s for s, y in zip(given, labels, strict=True)], dtype=float
        )
        counts = counts_of(labels, scores, weights)
        values["image_auroc"] = auroc(counts)
        values["image_aupr"] = average_precision(counts)
        values["image_f1_max"] = f1_max(counts)
    verdicts = [row.get("pred_label") for row in rows]
    if any(verdict is not None for verdict in verdicts):
        right = np.array(
            [v is not None and bool(v) == bool(y) for v, y in zip(verdicts, labels, strict=True)]
        )
        values["image_accuracy"] = _weighted_mean(right, weights)
        if 0 < labels.sum() < len(labels):
            of_labels = [labels == label for label in (0, 1)]
            values["image_balanced_accuracy"] = np.mean(
                [_weighted_mean(right[chosen], weights[:, chosen]) for chosen in of_labels], axis=0
            )
    return values


def _contradicts_answer(row: Row) -> bool | None:
    """Whether the reasoning contradicts the answer; a detector without one has its verdict."""
    pairs = row.get("disagreements")
    if is_unasked(row):
        return None
    return row.get("contradiction") if pairs is None else "answer/reasoning" in pairs


def _text_values(group: _Group, weights: Array, sbert_model: str | None) -> Values:
    values: Values = {}
    flags = [_contradicts_answer(row) for row in group.rows]
    if chosen := [index for index, flag in enumerate(flags) if flag is not None]:
        contradicting = np.array([float(bool(flags[index])) for index in chosen])
        values["contradiction_rate"] = _weighted_mean(contradicting, weights[:, chosen])
    chosen = [
        index
        for index, (sample, row) in enumerate(zip(group.samples, group.rows, strict=True))
        if sample.reference is not None
        and row.get("explanation") is not None
        and not is_unasked(row)
    ]
    if chosen:
        texts = [group.rows[index]["explanation"] for index in chosen]
        references = [group.samples[index].reference or "" for index in chosen]
        values["rouge_l"] = _weighted_mean(rouge_l(texts, references), weights[:, chosen])
        if sbert_model is not None:
            similarity = sbert(texts, references, sbert_model)
            values["sbert"] = _weighted_mean(similarity, weights[:, chosen])
    return values


def _weighted_mean(values: Array | NDArray[np.bool_], weights: Array) -> Array:
    with np.errstate(invalid="ignore"):
        mean: Array = (weights * values).sum(1) / weights.sum(1)
    return mean


def _pixel_values(counts: ThresholdCounts) -> Values:
    return {
        "pixel_auroc": auroc(counts),
        "pixel_aupr": average_precision(counts),
        "pixel_f1_max": f1_max(counts),
        "pixel_aupro": aupro(counts),
    }
