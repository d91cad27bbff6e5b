"""The paper's ablation in small: base, + R1, + CGRO, each with both maps; docs/results.md.

    python benchmarks/cgro_ablation.py OUT --photos DATA [--only SCENARIO …] …

DATA is the folder of real photos with a manifest.csv; without it, only rendered surfaces are used.
The base is the bundled model. Rerun the same command to resume; several with other `--only` may run
side by side. OUT/points-SCENARIO.jsonl has one object per (reward, seed, test set); `--write` puts
all of them in docs/results.md.

    unseen    trained on the validation families, tested on the test families and on real photos
    magnetic  a real line: half of MagneticTile, tested on the other half
    cubes     the same of DobotCubes

R1 and CGRO differ in R_cons alone: same images, order, settings and steps. The adapter after the
last step is reported, so nothing is chosen on the tests.
"""

import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import traced
from pages import markdown, parser_of, publish

from flawsight.cgro.best_step import Outcome
from flawsight.cgro.train_settings import TRAIN_PRESETS, TrainSettings
from flawsight.cgro.trainer import make_accelerator, train
from flawsight.cgro.training_data import LabelledImage, TrainingData
from flawsight.cgro.validation import validation_metrics
from flawsight.data.dataset import Sample
from flawsight.data.masks import read_gt_mask
from flawsight.data.open import open_datasets
from flawsight.errors import AnswerError
from flawsight.inspector import Inspector
from flawsight.localize import localize
from flawsight.metrics.pixel_counts import PixelCounter
from flawsight.metrics.ranking import auroc
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.settings import PRESETS
from flawsight_surfaces.make_dataset import Recipe, choose_families, make_dataset

PRESET = TRAIN_PRESETS["default-model"]
MAPS = {"vanilla": replace(PRESETS["paper"], selection="vanilla"), "real": PRESETS["paper"]}
LABELS = {"base": "base", "r1": "R1", "cgro": "CGRO"}
METRICS = {
    "image_auroc": "image AUROC",
    "balanced_accuracy": "balanced accuracy",
    "pixel_auroc_vanilla": "pixel AUROC, vanilla",
    "pixel_auroc_real": "ReAL",
    "contradictions": "contradictions",
}
Point = dict[str, Any]
# What to train on, and the test sets by their name in the table.
Scenario = tuple[Sequence[Sample], dict[str, Sequence[Sample]]]
KEYS = ("scenario", "reward", "seed", "test")


def rendered(folder: Path, families: str, pairs: int, seed: int) -> tuple[Sample, ...]:
    """Render a set, or open it."""
    if not folder.exists():
        make_dataset(folder, Recipe(seed=seed), choose_families(families), pairs)
    return open_datasets(str(folder))[0].samples


def halves(samples: Sequence[Sample], seed: int = 0) -> tuple[list[Sample], list[Sample]]:
    """Split a set at random into two, each with half of every class."""
    parts: tuple[list[Sample], list[Sample]] = ([], [])
    classes: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: str(sample.image)):
        classes.setdefault(sample.class_name, []).append(sample)
    rng = random.Random(seed)
    for _, own in sorted(classes.items()):
        rng.shuffle(own)
        for part, chosen in zip(parts, (own[::2], own[1::2]), strict=True):
            part.extend(chosen)
    return parts


def parted(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Keep every fourth image of each class for validation."""
    train: list[Sample] = []
    kept: list[Sample] = []
    counts: dict[str, int] = {}
    for sample in samples:
        turn = counts[sample.class_name] = counts.get(sample.class_name, -1) + 1
        (train if turn % 4 else kept).append(sample)
    return train, kept


def unseen(sets: Path, photos: Path | None, pairs: int) -> Scenario:
    """Return the scenario of rendered surfaces."""
    train = rendered(sets / "validation", "validation", 2 * pairs, 2001)
    tests: dict[str, Sequence[Sample]] = {
        "unseen, families": rendered(sets / "test", "test", pairs, 2002)
    }
    if photos is not None:
        tests["unseen, photos"] = [
            sample
            for dataset in open_datasets(str(photos / "manifest.csv"))
            for sample in dataset.limited(pairs).samples
            if dataset.name not in ("HazelnutToy", "VisA_mini")  # too few images to rank
        ]
    return train, tests


def line(name: str, folder: Path) -> Scenario:
    """Return the scenario of a real line."""
    train, test = halves(open_datasets(str(folder))[0].samples)
    return train, {name: test}


@torch.no_grad()
def measure(mllm: MLLM, samples: Sequence[Sample], batch: int = 16) -> dict[str, float | None]:
    """Inspect images greedily and read each response as both kinds of map.

    Returns:
        `validation_metrics`, and "pixel_auroc_…" of each kind, over all pixels of the images whose
        defects are marked (None if none is).
    """
    mllm.model.eval()
    outcomes: list[Outcome] = []
    pixels = {name: PixelCounter() for name in MAPS}
    settings = replace(MAPS["real"], max_new_tokens=PRESET.inspection.max_new_tokens)
    inspector = Inspector(mllm, settings, batch)
    for index, image, trace in traced(inspector, [sample.image for sample in samples]):
        sample, size = samples[index], (image.height, image.width)
        label = bool(sample.label)
        try:
            found = {name: localize(trace, size, MAPS[name]) for name in MAPS}
        except AnswerError:
            outcomes.append(Outcome(label, None, False, False, "", trace.text))
            continue
        one = found["real"]
        contradicts = "answer/reasoning" in one.disagreements
        verdict = (label, one.pred_score, one.pred_label, contradicts)
        outcomes.append(Outcome(*verdict, text=trace.text))
        if sample.pixel_labelled:
            truth = read_gt_mask(sample, size)
            for name, inspection in found.items():
                pixels[name].update(inspection.anomaly_map, truth)
    row: dict[str, float | None] = dict(validation_metrics(outcomes))
    for name, counter in pixels.items():
        value = auroc(counter.counts())
        row[f"pixel_auroc_{name}"] = None if np.isnan(value) else float(value)
    return row


def run(
    scenario: Scenario, settings: TrainSettings, name: str, out: Path, add: Callable[[Point], None]
) -> None:
    """Train once and measure after the last step; a base, by its `name`, is only measured."""
    mllm = load_mllm(device="cpu", dtype="float32")

    def measured(step: int) -> None:
        for test, samples in scenario[1].items():
            add({"step": step, "test": test} | measure(mllm, samples))

    if name == "base":
        measured(0)
        return

    def on_step(step: int, _: dict[str, float]) -> None:
        if step == settings.steps:
            measured(step)

    parts = (
        tuple(LabelledImage(sample.image, bool(sample.label)) for sample in part)
        for part in parted(scenario[0])
    )
    data = TrainingData(*parts)
    accelerator = make_accelerator(settings, out, cpu=True)
    train(mllm, PRESET.inspection, settings, data, out, accelerator, [out.name], on_step)


def read_points(out: Path) -> dict[tuple[Any, ...], Point]:
    """Return the points by what they are of; the later of two, which a kill may leave."""
    found: dict[tuple[Any, ...], Point] = {}
    for path in sorted(out.glob("points-*.jsonl")):
        for line in path.read_text().splitlines():
            with suppress(ValueError):  # torn by a kill
                point = json.loads(line)
                found[tuple(point[key] for key in KEYS)] = point
    return found


def keep_to(path: Path, values: dict[str, Any]) -> None:
    """Refuse to mix trainings of other settings in one folder."""
    if path.exists() and json.loads(path.read_text()) != values:
        raise SystemExit(f"{path} holds other settings; choose another folder.")
    path.write_text(json.dumps(values, indent=2) + "\n")


def mean_and_std(values: Sequence[float | None]) -> str:
    """Write a mean with its standard deviation over seeds, in %."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    if len(known) == 1:
        return f"{known[0]:.1f}"
    return f"{np.mean(known):.1f}±{np.std(known, ddof=1):.1f}"


def table(points: Sequence[Point]) -> str:
    """Return the metrics of each test set and reward."""
    rows = []
    for test in dict.fromkeys(point["test"] for point in points):
        for reward, label in LABELS.items():
            found = [p for p in points if (p["test"], p["reward"]) == (test, reward)]
            if found:
                shown = (mean_and_std([point[name] for point in found]) for name in METRICS)
                rows.append([test, label, *shown])
    seeds = len({point["seed"] for point in points})
    steps = max(point["step"] for point in points)
    return markdown(["setting", "", *METRICS.values()], rows) + (
        f"\n\nIn %, mean ± standard deviation over {seeds} seeds after {steps} steps; the base is "
        "one model."
    )


def main() -> None:
    """Run what is missing."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, help="folder of real photos with a manifest.csv")
    parser.add_argument("--only", nargs="+", default=[], help="scenarios")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of each training")
    parser.add_argument("--pairs", type=int, default=10, help="of each test family")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)

    def add(about: Point, values: Point) -> None:
        point = about | values
        print(json.dumps(point), flush=True)
        with (arguments.out / f"points-{point['scenario']}.jsonl").open("a") as file:
            file.write(json.dumps(point) + "\n")

    settings = replace(PRESET.settings, steps=arguments.steps, validate_every=0, overlays=0)
    keep_to(arguments.out / "settings.json", settings.to_json())
    photos = arguments.photos
    made: dict[str, Callable[[], Scenario]] = {}
    made["unseen"] = lambda: unseen(arguments.out / "sets", photos, arguments.pairs)
    if photos is not None:
        made["magnetic"] = lambda: line("magnetic", photos / "MagneticTile")
        made["cubes"] = lambda: line("cubes", photos / "DobotCubes")
    for name, make in made.items():
        if arguments.only and name not in arguments.only:
            continue
        scenario = None
        trained = [(reward, seed) for seed in range(arguments.seeds) for reward in ("r1", "cgro")]
        for reward, seed in [("base", 0), *trained]:
            if (name, reward, seed) in {key[:3] for key in read_points(arguments.out)}:
                continue
            scenario = scenario or make()
            changed = settings.changed({} if reward == "base" else {"reward": reward, "seed": seed})
            about: Point = {"scenario": name, "reward": reward, "seed": seed}
            folder = arguments.out / f"runs/{name}-{reward}-{seed}"
            run(scenario, changed, reward, folder, partial(add, about))
    points = list(read_points(arguments.out).values())
    publish("cgro_ablation", table(points), arguments.write)


if __name__ == "__main__":
    main()
