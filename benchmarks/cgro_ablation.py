"""The paper's ablation in small: base, + R1, + CGRO, each with both maps; docs/results.md.

    python benchmarks/cgro_ablation.py OUT --photos DATA [--part 0/2] [--write]

DATA is the folder of real photos with a manifest.csv; without it, only rendered surfaces are used.
One training after another; stop it at any time, and the same command goes on. `--part 0/2` and
`--part 1/2`, side by side, share the trainings out. OUT/points-*.jsonl has an object for each
(scenario, reward, seed, step, test set); `--write` puts what is there in docs/results.md.

    unseen      the bundled model; trained on the validation families, tested on the test families
    unreliable  the same from a base that sees but answers unreliably (`unreliable.py`)
    capsule     one rendered product, as in docs/training.md
    magnetic    a real line: half of MagneticTile, tested on the other half
    cubes       the same of DobotCubes

R1 and CGRO differ in R_cons alone: same base, images, order, settings and steps. "sink-free" is
CGRO with `relative_supports`, so that words which share a sink earn nothing by it. What is reported
is the adapter after the last step, so that nothing is chosen on the tests. To choose settings,
measure on images kept from training: `--on validation --config other.yaml --only cubes --seeds 1`.
"""

import argparse
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation_table import table
from results import write_section
from unreliable import make_unreliable

from flawsight.cgro.score_rollout import Consistency, score_trace
from flawsight.cgro.train_settings import TRAIN_PRESETS, TrainSettings, read_config
from flawsight.cgro.trainer import make_accelerator, train
from flawsight.cgro.training_data import LabelledImage, TrainingData
from flawsight.cgro.validation import figures
from flawsight.data.dataset import Sample
from flawsight.data.masks import read_gt_mask
from flawsight.data.open import open_datasets
from flawsight.errors import AnswerError
from flawsight.io.images import read_image
from flawsight.localize import inspect_trace
from flawsight.metrics.pixel_counts import PixelCounter
from flawsight.metrics.ranking import auroc, average_precision
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.generate import generate
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.settings import PRESETS
from flawsight_surfaces.make_dataset import Recipe, choose_families, make_dataset

PRESET = TRAIN_PRESETS["default-model"]
MAPS = {
    "vanilla": replace(PRESETS["paper"], selection="vanilla"),
    "real": PRESETS["paper"],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "r1": {"reward": "r1"},
    "cgro": {"reward": "cgro"},
    "sink-free": {"reward": "cgro", "relative_supports": True},
}
STEPS = 100
Point = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """One of the comparisons.

    Attributes:
        name: see above.
        base: model folder; None is the bundled model.
        train: images to learn from; every fourth of a class is kept for validation.
        tests: the test sets by name.
    """

    name: str
    base: Path | None
    train: Sequence[Sample]
    tests: dict[str, Sequence[Sample]]


def rendered(
    folder: Path, families: str, pairs: int, seed: int, difficulty: float = 1.0
) -> tuple[Sample, ...]:
    """Render a set, or open it. Two parts that render it at once do not write into one folder."""
    if not folder.exists():
        own = folder.with_name(f"{folder.name}-{os.getpid()}")
        recipe = Recipe(seed=seed, difficulty=difficulty)
        make_dataset(own, recipe, choose_families(families), pairs)
        try:
            own.rename(folder)
        except OSError:  # the other part was first
            shutil.rmtree(own)
    return open_datasets(str(folder))[0].samples


def halves(samples: Sequence[Sample], seed: int = 0) -> tuple[list[Sample], list[Sample]]:
    """Part a set by chance into two, each with half of every class."""
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


def labels_of(samples: Sequence[Sample]) -> tuple[LabelledImage, ...]:
    """Leave all but the image and its label."""
    return tuple(LabelledImage(sample.image, bool(sample.label)) for sample in samples)


def scenarios(
    out: Path, photos: Path | None, only: Sequence[str], pairs: int
) -> dict[str, Callable[[], Scenario]]:
    """Return what makes each scenario that can be run, by name."""
    sets = out / "sets"

    def unseen_tests() -> dict[str, Sequence[Sample]]:
        tests: dict[str, Sequence[Sample]] = {"test families": rendered(
            sets / "test", "test", pairs, 2002
        )}  # fmt: skip
        if photos is not None:
            tests["real photos, pooled"] = [
                sample
                for dataset in open_datasets(str(photos / "manifest.csv"))
                for sample in dataset.limited(pairs).samples
                if dataset.name not in ("HazelnutToy", "VisA_mini")  # too few images to rank
            ]
        return tests

    def seen() -> tuple[Sample, ...]:
        return rendered(sets / "validation", "validation", 2 * pairs, 2001)

    def line(name: str) -> Scenario:
        assert photos is not None
        train, test = halves(open_datasets(str(photos / name))[0].samples)
        return Scenario(name, None, train, {"the other half": test})

    found: dict[str, Callable[[], Scenario]] = {
        "unseen": lambda: Scenario("unseen", None, seen(), unseen_tests()),
        "unreliable": lambda: Scenario(
            "unreliable", make_unreliable(out / "unreliable"), seen(), unseen_tests()
        ),
        "capsule": lambda: Scenario(
            "capsule",
            None,
            rendered(sets / "capsule", "capsule", 15 * pairs, 0, 0.5),
            {"fresh images": rendered(sets / "fresh", "capsule", 8 * pairs, 7, 0.5)},
        ),
    }
    if photos is not None:
        found["magnetic"] = lambda: replace(line("MagneticTile"), name="magnetic")
        found["cubes"] = lambda: replace(line("DobotCubes"), name="cubes")
    return {name: make for name, make in found.items() if not only or name in only}


@torch.no_grad()
def measure(mllm: MLLM, samples: Sequence[Sample], batch: int = 16) -> dict[str, float | None]:
    """Inspect images greedily and read each response as both kinds of map.

    Returns:
        "image_auroc", "balanced_accuracy", "answered" and "contradictions" (see
        `flawsight.cgro.validation`), "pixel_auroc_…" and "pixel_ap_…" of each kind, over all pixels
        of the images whose defects are marked (None if none is), and the mean J.
    """
    mllm.model.eval()
    outcomes: list[tuple[bool, float | None, bool, bool]] = []
    pixels = {name: PixelCounter() for name in MAPS}
    agreements: dict[bool, list[float]] = {False: [], True: []}
    consistency = Consistency(
        top_t=PRESET.settings.top_t,
        quantile=PRESET.settings.quantile,
        jaccard_of=PRESET.settings.jaccard_of,
    )
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        images = [read_image(sample.image) for sample in part]
        prompts = encode_prompts(mllm, images, PRESET.inspection)
        traces = generate(mllm, prompts, PRESET.inspection)
        for sample, image, trace in zip(part, images, traces, strict=True):
            size, label = (image.height, image.width), bool(sample.label)
            score = score_trace(trace, label, PRESET.inspection, consistency)
            agreements[label].append(score.agreement)
            try:
                found = {name: inspect_trace(trace, size, MAPS[name]) for name in MAPS}
            except AnswerError:
                outcomes.append((label, None, False, False))
                continue
            one = found["real"]
            outcomes.append((label, one.pred_score, one.pred_label, one.contradiction))
            if sample.pixel_labelled:
                truth = read_gt_mask(sample, size)
                for name, inspection in found.items():
                    pixels[name].update(inspection.anomaly_map, truth)
    row: dict[str, float | None] = dict(figures(outcomes))
    for name, counter in pixels.items():
        counts = counter.counts()
        row[f"pixel_auroc_{name}"] = _number(auroc(counts))
        row[f"pixel_ap_{name}"] = _number(average_precision(counts))
    for label, name in ((True, "J_defective"), (False, "J_normal")):
        known = [value for value in agreements[label] if not np.isnan(value)]
        row[name] = float(np.mean(known)) if known else None
    return row


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def run(
    scenario: Scenario, settings: TrainSettings, name: str, out: Path, add: Callable[[Point], None]
) -> None:
    """Train once and measure half way and at the end; a base is only measured.

    Args:
        scenario: what from and what on.
        settings: of the training, with its reward and seed.
        name: the reward, or "base".
        out: of the run.
        add: keeps a point.
    """
    mllm = load_mllm(scenario.base, device="cpu", dtype="float32")
    began, spent = time.process_time(), 0.0

    def measured(step: int) -> None:
        nonlocal spent
        before = time.process_time()
        for test, samples in scenario.tests.items():
            point: Point = {"scenario": scenario.name, "reward": name}
            point |= {"seed": settings.seed, "step": step}
            point |= {"test": test, "images": len(samples), "seconds": before - began - spent}
            add(point | measure(mllm, samples))
        spent += time.process_time() - before

    if name == "base":
        measured(0)
        return

    def on_step(step: int, _: dict[str, float]) -> None:
        if step in (settings.steps // 2, settings.steps):
            measured(step)

    data = TrainingData(*map(labels_of, parted(scenario.train)))
    accelerator = make_accelerator(settings, out, cpu=True)
    train(mllm, PRESET.inspection, settings, data, out, accelerator, [scenario.name], on_step)


def read_points(out: Path) -> list[Point]:
    """Return all points; of one measured twice, after a kill, the later."""
    found: dict[tuple[Any, ...], Point] = {}
    for path in sorted(out.glob("points-*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                point = json.loads(line)
            except ValueError:  # torn by a kill
                continue
            found[tuple(point[k] for k in ("scenario", "reward", "seed", "step", "test"))] = point
    return list(found.values())


def done_in(out: Path) -> set[tuple[Any, ...]]:
    """Return what has been measured, whatever the test set."""
    keys = ("scenario", "reward", "seed", "step")
    return {tuple(point[key] for key in keys) for point in read_points(out)}


def keep_to(path: Path, values: dict[str, Any]) -> None:
    """Refuse to mix trainings of other settings in one folder."""
    if path.exists() and json.loads(path.read_text()) != values:
        raise SystemExit(f"{path} holds other settings; choose another folder.")
    path.write_text(json.dumps(values, indent=2) + "\n")


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, help="folder of real photos with a manifest.csv")
    parser.add_argument("--only", nargs="+", default=[], help="scenarios")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", type=Path, help="settings of the training, as for `train`")
    parser.add_argument("--on", choices=["tests", "validation"], default="tests")
    parser.add_argument("--pairs", type=int, default=10, help="of each test family")
    parser.add_argument("--part", default="0/1", help="which part of the trainings to run")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)

    def add(point: Point) -> None:
        print(json.dumps(point), flush=True)
        with (arguments.out / f"points-{part}.jsonl").open("a") as file:
            file.write(json.dumps(point) + "\n")

    settings = replace(PRESET.settings, steps=STEPS, validate_every=0, overlays=0)
    settings = settings.changed(read_config(arguments.config) if arguments.config else {})
    keep_to(arguments.out / "settings.json", settings.to_json())
    number = 0
    made = scenarios(arguments.out, arguments.photos, arguments.only, arguments.pairs)
    for name, make in made.items():
        scenario = None
        trained = [variant for variant in VARIANTS if variant != "base"]
        runs = [("base", 0), *((v, seed) for seed in range(arguments.seeds) for v in trained)]
        for reward, seed in runs:
            number += 1
            own = settings.changed(VARIANTS[reward] | {"seed": seed})
            last = 0 if reward == "base" else settings.steps
            if number % parts != part or (name, reward, seed, last) in done_in(arguments.out):
                continue
            scenario = scenario or make()
            if arguments.on == "validation":
                scenario = replace(scenario, tests={"validation": parted(scenario.train)[1]})
            run(scenario, own, reward, arguments.out / "runs" / f"{name}-{reward}-{seed}", add)
    text = table(read_points(arguments.out))
    print(text)
    if arguments.write:
        write_section("cgro_ablation", text)


if __name__ == "__main__":
    main()
