"""The example that fits models of anomalib on good photos; needs anomalib 2."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flawsight.evaluate.detectors.predictions import PredictionsDetector
from helpers.command_line import flawsight

reason = "anomalib is not installed"
pytest.importorskip("anomalib.models", reason=reason)
torch = pytest.importorskip("torch")

EXAMPLE = Path(__file__).parents[2] / "examples/anomalib_few_shot.py"
pytestmark = pytest.mark.filterwarnings("ignore")


def photo(path: Path, seed: int, hue: tuple[int, int, int] | None = None) -> None:
    """Write a photo of gray noise, with a spot of a hue."""
    pixels = np.random.default_rng(seed).integers(90, 140, (64, 96, 3), np.uint8)
    if hue is not None:
        pixels[16:32, 48:72] = hue
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two categories: red spots are defects of a, where green ones are usual, and of b."""
    root = tmp_path / "parts"
    for category, usual in (("a", (0, 160, 0)), ("b", None)):
        for index in range(4):
            photo(root / category / f"train/good/{index}.png", index, usual)
        for index in range(2):
            photo(root / category / f"test/good/{index}.png", 10 + index, usual)
            photo(root / category / f"test/spot/{index}.png", 20 + index, (200, 0, 0))
            mask = np.zeros((64, 96), np.uint8)
            mask[16:32, 48:72] = 255
            path = root / category / f"ground_truth/spot/{index}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return root


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *map(str, arguments)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


def test_colours_find_spots_of_a_colour_that_good_photos_of_the_category_lack(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "peers"
    run(monkeypatch, parts, "--detector", "colours", "--good", 3, "--seeds", 2, "--out", out)
    detectors = [f"--detector=run:{out}/colours-3-{seed}" for seed in range(2)]
    code, output = flawsight("bench", "--data", parts, *detectors, "--resamples", 5,
                             "--out", tmp_path / "bench")  # fmt: skip
    assert code == 0, output
    with (tmp_path / "bench/metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] in ("a", "b")]
    for metric, least in (("image_auroc", 1.0), ("pixel_auroc", 0.95)):
        values = [float(row["value"]) for row in rows if row["metric"] == metric]
        assert len(values) == 4  # two categories, two draws
        assert min(values) >= least, metric


def test_only_the_drawn_photos_are_learned(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The draw of one photo of four by each of three seeds, as numpy's generator makes it.
    drawn = [int(np.random.default_rng(seed).choice(4, 1, replace=False)[0]) for seed in range(3)]
    learned = drawn[0]
    assert set(drawn) != {learned}
    photo(parts / f"b/train/good/{learned}.png", 99, (200, 0, 0))
    out = tmp_path / "peers"
    run(monkeypatch, parts, "--detector", "colours", "--good", 1, "--seeds", 3, "--out", out)
    images = sorted((parts / "b/test/spot").iterdir())
    for seed, index in enumerate(drawn):
        spots, good = (
            [p.pred_score for p in PredictionsDetector(out / f"colours-1-{seed}").predict(paths)]
            for paths in (images, sorted((parts / "b/test/good").iterdir()))
        )
        # A spot that was among the good photos is no defect.
        assert (min(spots) > 2 * max(good)) == (index != learned), seed
