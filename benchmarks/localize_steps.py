"""What each step beyond the paper gains; docs/results.md, section "localize".

    python benchmarks/localize_steps.py VAL TEST … --traces FOLDER [--model M] [--limit N] [--write]

Rows: `paper`, `default`, each step alone, the greedy path that adds whichever step gains most until
none gains ("all"). VAL and each TEST are data sets with
masks, VAL of rendered families (`flawsight data make`). Half of VAL's categories choose the path
and give the attention prior (the bundled prior is not used because it saw all of VAL); the other
half and the TESTs are only reported. Traces are kept in FOLDER and serve all rows that see images
and place crops alike. A TEST that is a manifest holds real photos: its column is the mean over its
data sets with ten defective images or more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import interleaved, ratios, traced
from numpy.typing import NDArray
from pages import markdown, parser_of, publish

from flawsight.data.dataset import Sample
from flawsight.data.masks import read_gt_mask
from flawsight.data.open import open_datasets
from flawsight.errors import AnswerError
from flawsight.inspection import Inspection, Trace
from flawsight.inspector import Inspector
from flawsight.localize import localize
from flawsight.metrics.pixel_counts import PixelCounter
from flawsight.metrics.ranking import aupro, auroc, average_precision, counts_of
from flawsight.metrics.region_recall import Detections, detections, region_recall
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.real.token_selection import mean_attention
from flawsight.refine.attention_prior import AttentionPrior, measure_prior
from flawsight.runs.trace_store import TraceFolder
from flawsight.settings import PRESETS, Settings

PAPER, DEFAULT = PRESETS["paper"], PRESETS["default"]
BATCH = 8
SHOWN, CHOOSING = slice(3), slice(4)  # of the metrics
Values = NDArray[np.float64]
Change = Mapping[str, Any]
CROPS: Change = {name: getattr(DEFAULT, name) for name in ("crop_share", "crop_token_share")}
STEPS: dict[str, Change] = {
    "aspect kept": {"image_grid": None},
    "feature distance": {"feature_distance": True},
    "2 crops": {"crops": 2, **CROPS},
    "3 crops": {"crops": 3, **CROPS},
    "guided filter": {"guided_filter": True},
    "attention prior": {"attention_prior": True},
    "all tokens, weighted": {"tau_t": 0.0, "tau_i": 0.0},
    "all tokens": {"selection": "vanilla"},
}


class Bench:
    """Traces and metrics of one model. The prior is the mean over `normal` images."""

    def __init__(self, mllm: MLLM, root: Path, normal: Sequence[Sample]) -> None:
        self.mllm, self.root = mllm, root
        seen = replace(PAPER, image_grid=None)  # as by `flawsight prior`
        traces = (trace for _, trace, _ in self.traced(normal, seen, None))
        maps = (mean_attention(trace, seen) for trace in traces)
        self.prior = measure_prior((m for m in maps if m is not None), PAPER.layers, mllm.sha256)

    def traced(
        self, samples: Sequence[Sample], settings: Settings, prior: AttentionPrior | None
    ) -> Iterator[tuple[Sample, Trace, Any]]:
        """Yield the samples with a response, its trace and the image."""
        store = TraceFolder(self.root, self.mllm, settings, prior)
        inspector = Inspector(self.mllm, settings, BATCH, prior=prior, trace_store=store)
        for index, image, trace in traced(inspector, [sample.image for sample in samples]):
            yield samples[index], trace, image

    def metrics(self, samples: Sequence[Sample], settings: Settings) -> Values:
        """Return pixel AUROC, AP and AUPRO, regions found, and image AUROC.

        Each is in percent, the mean over categories.
        """
        pixels: dict[str, PixelCounter] = {}
        peaks: dict[str, list[Detections]] = {}
        scores: dict[str, list[tuple[int, float]]] = {}
        prior = self.prior.density if settings.attention_prior else None
        for sample, trace, image in self.traced(samples, traced_with(settings), self.prior):
            size = (image.height, image.width)

            def localized(photo: Any, trace: Trace = trace, size: Any = size) -> Inspection:
                return localize(trace, size, settings, prior=prior, photo=photo)

            try:
                unfiltered = localized(None)
            except AnswerError:
                continue
            gt_mask = read_gt_mask(sample, size)
            category = sample.category
            scores.setdefault(category, []).append((sample.label, unfiltered.pred_score))
            # Regions are found in the map before the guided filter.
            found = detections(unfiltered.anomaly_map, gt_mask)
            peaks.setdefault(category, []).append(found)
            shown = localized(image) if settings.guided_filter else unfiltered
            pixels.setdefault(category, PixelCounter()).update(shown.anomaly_map, gt_mask)
        rows = []
        for category, counter in pixels.items():
            counts = counter.counts()
            labels, ranks = zip(*scores[category], strict=True)
            rows.append(
                [
                    auroc(counts), average_precision(counts), aupro(counts),
                    region_recall(peaks[category]),
                    auroc(counts_of(labels, ranks)) if len(set(labels)) == 2 else np.nan,
                ]
            )  # fmt: skip
        return np.asarray(100 * np.nanmean(np.array(rows, np.float64), axis=0))

    def costs(self, samples: Sequence[Sample], rows: Mapping[str, Settings]) -> dict[str, float]:
        """Return each row's processor time for one batch, relative to the first row's."""
        paths = [sample.image for sample in samples[:BATCH]]
        inspectors = {n: Inspector(self.mllm, row, prior=self.prior) for n, row in rows.items()}
        sides = {n: partial(one.inspect_batch, paths) for n, one in inspectors.items()}
        costs = interleaved(sides, rounds=8)
        return {name: ratios(cost, costs[next(iter(rows))])[1] for name, cost in costs.items()}


def traced_with(settings: Settings) -> Settings:
    """Return settings whose traces hold what these use: one choice for as many rows as possible."""
    if not settings.crops:
        return replace(PAPER, image_grid=settings.image_grid, feature_distance=True)
    # Localizing uses the first `settings.crops` of three. The rest decides where they are.
    names = ("image_grid", "attention_prior", "feature_distance")
    return replace(PAPER, crops=3, **CROPS, **{name: getattr(settings, name) for name in names})


def combine(names: Sequence[str]) -> Settings:
    """Return preset `paper` with the steps of these names, later ones winning."""
    changes = [change for name in names for change in STEPS[name].items()]
    return replace(PAPER, **dict(changes))


def greedy(score: Callable[[Settings], Values]) -> list[str]:
    """Return the steps in the order of their gain, until none gains half a percent.

    The gain is the sum of the relative gains of the metrics in CHOOSING.
    """
    base = score(PAPER)[CHOOSING].clip(min=1e-9)
    path: list[str] = []
    best = 0.0
    while left := [name for name in STEPS if name not in path]:
        gains = {
            name: float(np.sum(score(combine([*path, name]))[CHOOSING] / base - 1)) for name in left
        }
        name = max(gains, key=lambda one: gains[one])
        if gains[name] < best + 0.005:
            break
        path.append(name)
        best = gains[name]
    return path


def rows_of(path: Sequence[str]) -> dict[str, Settings]:
    """Return the settings of each row."""
    rows = {"`paper`": PAPER, "`default`": DEFAULT}
    rows |= {f"+ {name}": combine([name]) for name in STEPS}
    if len(path) > 1:
        rows["all"] = combine(path)
    return rows


def table(
    path: Sequence[str], values: Mapping[str, Mapping[str, Values]], times: Mapping[str, float]
) -> str:
    """Return the table: the steps chosen, and the metrics (by column) and time of each row."""
    lines = []
    for name, cost in times.items():
        shown = [" / ".join(f"{v:.1f}" for v in own[name][SHOWN]) for own in values.values()]
        lines.append([name, *shown, f"{cost:.2f}"])
    images = ", ".join(
        f"{own['`paper`'][-1]:.1f} and {own['`default`'][-1]:.1f}" for own in values.values()
    )
    return markdown(["steps", *values, "time"], lines) + (
        f"\n\nPixel AUROC / AP / AUPRO in %, means over categories. All: {' + '.join(path)}, in "
        "the order of their gain. Time: of the processor, in units of `paper`, by turns.\n\n"
        f"Image AUROC of `paper` and `default`, by column: {images}."
    )


def pixel_labelled(spec: str, limit: int | None) -> list[Sample]:
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
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("val")
    parser.add_argument("test", nargs="*")
    parser.add_argument("--traces", type=Path, required=True, help="folder that keeps traces")
    parser.add_argument("--model", help="model folder; default: the bundled model")
    parser.add_argument("--limit", type=int, help="images of each category and class at most")
    arguments = parser.parse_args()
    val = pixel_labelled(arguments.val, arguments.limit)
    categories = sorted({sample.category for sample in val})
    choosing, rest = (
        [s for s in val if categories.index(s.category) % 2 == half] for half in (0, 1)
    )
    bench = Bench(
        load_mllm(arguments.model), arguments.traces, [s for s in choosing if not s.label]
    )
    path = greedy(lambda settings: bench.metrics(choosing, settings))
    rows = rows_of(path)
    tests = {"`val`, other half": rest}
    for spec in arguments.test:
        title = f"`{Path(spec).name}`" if Path(spec).is_dir() else "real photos"
        tests[title] = pixel_labelled(spec, arguments.limit)
    times = bench.costs(rest, rows)
    values = {
        f"{title} ({len(samples)})": {n: bench.metrics(samples, row) for n, row in rows.items()}
        for title, samples in tests.items()
    }
    publish("localize", table(path, values, times), arguments.write)


if __name__ == "__main__":
    main()
