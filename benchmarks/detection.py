"""Detection and localization figures of a model: docs/results.md, section "Detection".

    python benchmarks/detection.py [--photos FOLDER] [--model M] [--split test|validation] [--write]

Every response is generated once and its map made in several ways. Pixel figures pool all pixels of
a data set, read off a histogram of 65,536 scores, so they need no more memory for more images.
"""

import argparse
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from results import write_section
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from flawsight.data.surfaces import TEST_FAMILIES, TRAIN_FAMILIES, VALIDATION_FAMILIES
from flawsight.errors import AnswerError
from flawsight.inspector import inspect_trace
from flawsight.mllm.generate import generate
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.settings import PRESETS, Settings
from samples import LabelledImage, photographed, rendered

BINS = 65536
VARIANTS = {
    "vanilla mean": replace(PRESETS["paper"], selection="vanilla"),
    "ReAL (`paper`)": PRESETS["paper"],
    "`default`": PRESETS["default"],
}


@dataclass
class Tally:
    """Everything counted about one data set, for each way to make the map."""

    labels: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    verdicts: list[bool] = field(default_factory=list)
    places: list[bool] = field(default_factory=list)
    defects: list[bool] = field(default_factory=list)
    contradictions: int = 0
    failed: int = 0
    pixels: dict[str, NDArray[np.int64]] = field(default_factory=dict)


def tally(mllm: MLLM, images: Iterable[LabelledImage], variants: dict[str, Settings]) -> Tally:
    """Inspect images and count."""
    result = Tally(pixels={name: np.zeros((2, BINS), np.int64) for name in variants})
    stream = iter(images)
    first = next(iter(variants.values()))
    while batch := list(islice(stream, 16)):
        traces = generate(mllm, [sample.image for sample in batch], first)
        for sample, trace in zip(batch, traces, strict=True):
            size = (sample.image.height, sample.image.width)
            try:
                found = {n: inspect_trace(trace, size, s) for n, s in variants.items()}
            except AnswerError:
                result.failed += 1
                continue
            inspection = found[next(iter(variants))]
            result.labels.append(sample.label)
            result.scores.append(inspection.pred_score)
            result.verdicts.append(inspection.pred_label)
            result.contradictions += inspection.contradiction
            if sample.place and sample.defect:
                result.places.append(f"the {sample.place}" in inspection.explanation)
                result.defects.append(f" {sample.defect} " in inspection.explanation)
            if sample.gt_mask is None:
                continue
            for name, one in found.items():
                bins = (one.anomaly_map * (BINS - 1)).astype(np.int64)
                for truth in (0, 1):
                    chosen = bins[sample.gt_mask == bool(truth)]
                    result.pixels[name][truth] += np.bincount(chosen, minlength=BINS)
    return result


def pixel_scores(histogram: NDArray[np.int64]) -> tuple[float, float]:
    """(AUROC, average precision) of pixels counted by truth and score bin."""
    truth = np.repeat([0, 1], BINS)
    score = np.tile(np.arange(BINS), 2)
    weight = histogram.ravel()
    used = weight > 0
    arguments = truth[used], score[used]
    return (
        float(roc_auc_score(*arguments, sample_weight=weight[used])),
        float(average_precision_score(*arguments, sample_weight=weight[used])),
    )


def rows(name: str, result: Tally) -> Iterator[str]:
    """Yield the Markdown rows of one data set: one a way to make the map."""
    normal, defective = result.labels.count(0), result.labels.count(1)
    one_class = not (normal and defective)
    auroc = "–" if one_class else f"{roc_auc_score(result.labels, result.scores):.3f}"
    accuracy = (
        "–" if one_class else f"{balanced_accuracy_score(result.labels, result.verdicts):.3f}"
    )
    alarms = np.mean(np.array(result.verdicts)[np.array(result.labels) == 0])
    for variant, histogram in result.pixels.items():
        pixels = "– | – | –"
        if histogram.sum(axis=1).all():
            pixel_auroc, pixel_ap = pixel_scores(histogram)
            pixels = (
                f"{pixel_auroc:.3f} | {pixel_ap:.3f} | {histogram[1].sum() / histogram.sum():.3f}"
            )
        yield (
            f"| {name} | {normal} + {defective} | {auroc} | {accuracy} | {alarms:.2f} "
            f"| {variant} | {pixels} |"
        )
        name = auroc = accuracy = ""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder; default: the bundled model")
    parser.add_argument("--photos", type=Path, help="folder of real photos with a manifest.csv")
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--pairs", type=int, default=60, help="rendered pairs a family")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    arguments = parser.parse_args()
    mllm = load_mllm(arguments.model)
    families = TEST_FAMILIES if arguments.split == "test" else VALIDATION_FAMILIES
    datasets = {
        "rendered, unseen families": rendered(families, arguments.pairs, seed=1001),
        "rendered, trained families": rendered(TRAIN_FAMILIES, max(1, arguments.pairs // 5), 1002),
    }
    if arguments.photos:
        datasets |= photographed(arguments.photos)
    lines = [
        "| data | good + defective | image AUROC | balanced accuracy | good called defective | map "
        "| pixel AUROC | pixel AP | AP by chance |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, images in datasets.items():
        result = tally(mllm, images, VARIANTS)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            lines += rows(name, result)
        if result.places:
            notes.append(
                f"{name}: right place named {np.mean(result.places):.2f}, right defect "
                f"{np.mean(result.defects):.2f} (of the defective ones)."
            )
        notes.append(
            f"{name}: the reasoning contradicts the answer in {result.contradictions} of "
            f"{len(result.labels)}."
        )
        if result.failed:
            notes.append(f"{name}: {result.failed} responses without an answer, left out.")
        print("\n".join(lines[-len(VARIANTS) :]), flush=True)
    notes = [f"- {note}" for note in notes]
    text = "\n".join([*lines, "", *notes, "", f"Weights {mllm.sha256[:12]}."])
    print(text)
    if arguments.write:
        write_section("detection", text)


if __name__ == "__main__":
    main()
