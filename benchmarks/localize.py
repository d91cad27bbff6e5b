"""Each step beyond the paper alone, left out, along a greedy path: docs/results.md, "localize".

    python benchmarks/localize.py VAL TEST … --traces FOLDER [--model M] [--limit N] [--write]

VAL and each TEST are data sets with masks, VAL of rendered families (`flawsight data make`). Half
of VAL's categories choose: the heads (what `calibrate` wrote is not used, for it saw all of VAL),
where words look at good images, and the greedy path, which adds whichever step gains most until
none gains. The other half and the TESTs are only reported. A response serves all settings. A TEST
that lists several data sets is one table, the mean over those with ten defective images or more.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import write_section
from sklearn.metrics import roc_auc_score

from flawsight.data.dataset import Sample
from flawsight.data.masks import read_gt_mask
from flawsight.data.open import open_datasets
from flawsight.errors import AnswerError, FlawsightError
from flawsight.inspection import Trace
from flawsight.io.images import read_image
from flawsight.localize import inspect_trace
from flawsight.metrics.pixel_counts import PixelCounter
from flawsight.metrics.ranking import aupro, auroc, average_precision, f1_max
from flawsight.metrics.region_recall import Detections, detections, region_recall
from flawsight.mllm.generate import generate, replay
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.refine.attention_prior import Looks, head_map, measure
from flawsight.refine.crops import look
from flawsight.runs.trace_store import trace_folder, traced
from flawsight.settings import PRESETS, Settings

PAPER, DEFAULT = PRESETS["paper"], PRESETS["default"]
BATCH = 8
SHARE = 0.5
TURNS = 9
METRICS = ("pixel AUROC", "pixel AP", "F1-max", "AUPRO", "regions found", "image AUROC")
Values = NDArray[np.float64]
Change = Mapping[str, Any]
CLOSER: Change = {name: getattr(DEFAULT, name) for name in ("crop_share", "crop_token_share")}
# The heads are filled in from the half that chooses.
STEPS: dict[str, Change] = {
    "all words": {"selection": "vanilla"},
    "all words, weighed": {"tau_t": 0.0, "tau_i": 0.0},
    "words only": {"words_only": True},
    "heads": {"heads": ()},
    "relative": {"relative": True},
    "rarity": {"rarity": True},
    "map × P(Yes)": {"scale_by_score": True},
    "edges": {"guided_filter": True},
    "second look, 2 parts": {"crops": 2, **CLOSER},
    "second look, 3 parts": {"crops": 3, **CLOSER},
}


@dataclass(frozen=True)
class Seen:
    """A sample with the response to it and its image's (height, width)."""

    sample: Sample
    trace: Trace
    image_size: tuple[int, int]


class Bench:
    """Traces and figures of one model, each made once."""

    def __init__(self, mllm: MLLM, root: Path) -> None:
        self.mllm, self.root = mllm, root
        self.looks: Looks | None = None

    def seen(self, samples: Sequence[Sample], settings: Settings) -> list[Seen]:
        """Return the samples that have a response; three parts are looked at again."""
        settings = replace(
            PAPER, heads=settings.heads, rarity=settings.feature_distance, crops=3, **CLOSER
        )
        kept = trace_folder(self.root, self.mllm, settings)
        found = []
        for first in range(0, len(samples), BATCH):
            chunk = samples[first : first + BATCH]
            outcomes = traced(self.mllm, [sample.image for sample in chunk], settings, kept)
            found += [
                Seen(sample, *outcome)
                for sample, outcome in zip(chunk, outcomes, strict=True)
                if not isinstance(outcome, FlawsightError)
            ]
        return found

    def measure_looks(self, samples: Sequence[Sample]) -> None:
        """Choose heads, and average good images, as `flawsight calibrate --heads` does."""
        maps = []
        for first in range(0, len(samples), BATCH):
            chunk = samples[first : first + BATCH]
            images = [read_image(sample.image) for sample in chunk]
            texts = [trace.text for trace in generate(self.mllm, images, PAPER)]
            again = replay(self.mllm, images, texts, PAPER, keep_heads=True)
            for sample, trace in zip(chunk, again, strict=True):
                try:
                    attention = head_map(trace, PAPER)
                except AnswerError:
                    continue
                if attention is not None:
                    maps.append((bool(sample.label), attention))
        self.looks = measure(maps, SHARE, self.mllm.sha256)

    def figures(self, samples: Sequence[Sample], settings: Settings) -> Values:
        """Return METRICS, each the mean over categories, a row of percent."""
        pixels: dict[str, PixelCounter] = {}
        peaks: dict[str, list[Detections]] = {}
        scores: dict[str, list[tuple[int, float]]] = {}
        for seen in self.seen(samples, settings):
            read = partial(inspect_trace, seen.trace, seen.image_size, settings, looks=self.looks)
            try:
                smooth = read()
            except AnswerError:
                continue
            gt_mask = read_gt_mask(seen.sample, seen.image_size)
            category = seen.sample.category
            scores.setdefault(category, []).append((seen.sample.label, smooth.pred_score))
            # Regions are found in the map before it follows edges.
            peaks.setdefault(category, []).append(detections(smooth.anomaly_map, gt_mask))
            drawn = read(photo=read_image(seen.sample.image)) if settings.guided_filter else smooth
            pixels.setdefault(category, PixelCounter()).update(drawn.anomaly_map, gt_mask)
        rows = []
        for category, counter in pixels.items():
            counts = counter.counts()
            recall = region_recall(peaks[category])
            labels, ranks = zip(*scores[category], strict=True)
            image_auroc = roc_auc_score(labels, ranks) if len(set(labels)) == 2 else np.nan
            rows.append(
                [
                    auroc(counts),
                    average_precision(counts),
                    f1_max(counts),
                    aupro(counts),
                    recall,
                    image_auroc,
                ]
            )
        return np.asarray(100 * np.nanmean(np.array(rows, np.float64), axis=0))


def gain(figures: Values, base: Values) -> float:
    """What the greedy path climbs: the sum of the relative gains of AUROC, AP, AUPRO and recall."""
    chosen = [0, 1, 3, 4]
    return float(np.sum(figures[chosen] / base[chosen].clip(min=1e-9) - 1))


def combine(names: Sequence[str], steps: Mapping[str, Change]) -> Settings:
    """Return preset `paper` with the steps of these names, later ones winning."""
    change: dict[str, Any] = {}
    for name in names:
        change |= steps[name]
    return replace(PAPER, **change)


def greedy(score: Callable[[Settings], Values], steps: Mapping[str, Change]) -> list[str]:
    """Return the steps in the order of their gain, until none gains half a percent."""
    base = score(PAPER)
    path: list[str] = []
    best = 0.0
    while left := [name for name in steps if name not in path]:
        gains = {name: gain(score(combine([*path, name], steps)), base) for name in left}
        name = max(gains, key=lambda one: gains[one])
        if gains[name] < best + 0.005:
            break
        path.append(name)
        best = gains[name]
    return path


def costs(
    mllm: MLLM, samples: Sequence[Sample], rows: Mapping[str, Settings], looks: Looks | None
) -> dict[str, float]:
    """Return each row's processor time in units of the first row's, measured by turns.

    Of the first 8 samples in one batch, the images being read already.
    """
    images = [read_image(sample.image) for sample in samples[:BATCH]]
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(TURNS):
        for name, settings in rows.items():
            began = time.process_time()
            for image, trace in zip(images, look(mllm, images, settings), strict=True):
                size = (image.height, image.width)
                inspect_trace(trace, size, settings, looks=looks, photo=image)
            times[name].append(time.process_time() - began)
    # The first turn warms up.
    base, *_ = (np.array(row[1:]) for row in times.values())
    return {name: float(np.median(np.array(row[1:]) / base)) for name, row in times.items()}


def labelled(spec: str, limit: int | None) -> list[Sample]:
    """Open data sets and keep what has pixel labels; of several, each becomes a category."""
    datasets = open_datasets(spec)
    found: list[Sample] = []
    for dataset in datasets:
        kept = replace(dataset, samples=tuple(s for s in dataset.samples if s.pixel_labelled))
        if len(datasets) > 1:
            if sum(sample.label for sample in kept.samples) < 10:
                continue
            named = tuple(replace(sample, category=dataset.name) for sample in kept.samples)
            kept = replace(kept, samples=named)
        found += (kept if limit is None else kept.limited(limit)).samples
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("val")
    parser.add_argument("test", nargs="*")
    parser.add_argument("--traces", type=Path, required=True, help="folder that keeps responses")
    parser.add_argument("--model", help="model folder; default: the bundled model")
    parser.add_argument("--limit", type=int, help="images of each category and class at most")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    arguments = parser.parse_args()
    mllm = load_mllm(arguments.model)
    val = labelled(arguments.val, arguments.limit)
    categories = sorted({sample.category for sample in val})
    halves = [[s for s in val if categories.index(s.category) % 2 == half] for half in (0, 1)]
    bench = Bench(mllm, arguments.traces)
    bench.measure_looks(halves[0])
    assert bench.looks is not None
    bench.mllm = mllm = replace(mllm, looks=bench.looks)
    steps = STEPS | {"heads": {"heads": bench.looks.heads}}
    known: dict[Settings, Values] = {}

    def on_choice(settings: Settings) -> Values:
        if settings not in known:
            known[settings] = bench.figures(halves[0], settings)
        return known[settings]

    path = greedy(on_choice, steps)
    rows: dict[str, Settings] = {"`paper`": PAPER, "`default`": DEFAULT}
    rows |= {f"+ {name}": combine([name], steps) for name in steps}
    rows |= {
        f"path {i}: {' + '.join(path[:i])}": combine(path[:i], steps)
        for i in range(2, len(path) + 1)
    }
    rows |= {
        f"path without {name}": combine([n for n in path if n != name], steps)
        for name in path
        if len(path) > 2
    }
    tests = {"val, other half": halves[1]}
    for spec in arguments.test:
        title = Path(spec).name if Path(spec).is_dir() else f"data sets of {Path(spec).name}"
        tests[title] = labelled(spec, arguments.limit)
    cells: dict[tuple[str, str], str] = {}
    for title, samples in tests.items():
        for name, settings in rows.items():
            figures = bench.figures(samples, settings)
            cells[title, name] = " | ".join(f"{value:.1f}" for value in figures)
            print(title, name, cells[title, name], sep=" | ", flush=True)
    times = costs(mllm, halves[1], rows, bench.looks)
    lines = [
        f"Chosen on {len(halves[0])} images of {', '.join(categories[::2])}: "
        f"{', '.join(path) or 'nothing'}.",
        "",
    ]
    for title, samples in tests.items():
        lines += [
            f"**{title}**, {len(samples)} images",
            "",
            f"| steps | {' | '.join(METRICS)} | time |",
            "|---|" + "---|" * (len(METRICS) + 1),
        ]
        lines += [f"| {name} | {cells[title, name]} | {times[name]:.2f} |" for name in rows]
        lines.append("")
    lines.append(
        "In %, means over categories. Regions found: with one false alarm an image. Time: of the "
        "processor, in units of that of `paper`, by turns."
    )
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        write_section("localize", text)


if __name__ == "__main__":
    main()
