"""anomalib's predictions scored here, and its metrics against ours; needs anomalib 2."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from flawsight.evaluate.detectors.predictions import PredictionsDetector
from flawsight.integrations.anomalib_predictions import save_predictions
from flawsight.metrics.ranking import (
    ThresholdCounts,
    aupro,
    auroc,
    average_precision,
    counts_of,
    f1_max,
)
from helpers.command_line import flawsight
from helpers.maps import count, random_images

reason = "anomalib is not installed"
data = pytest.importorskip("anomalib.data", reason=reason)
engines = pytest.importorskip("anomalib.engine", reason=reason)
metrics = pytest.importorskip("anomalib.metrics", reason=reason)
models = pytest.importorskip("anomalib.models", reason=reason)

pytestmark = pytest.mark.filterwarnings("ignore")
Array = np.ndarray[Any, Any]
SIDE = 64
METRICS: dict[str, Callable[[ThresholdCounts], Array]] = {
    "AUROC": auroc,
    "AUPR": average_precision,
    "F1Max": f1_max,
    "AUPRO": aupro,
}
unit_maps = hnp.arrays(np.float32, (3, 5, 5), elements=st.floats(0, 1, width=16))
tied_maps = hnp.arrays(int, (3, 5, 5), elements=st.integers(0, 3)).map(
    lambda steps: (steps / 4).astype(np.float32)
)


def theirs(name: str, batches: list[Any], fields: tuple[str, str]) -> float:
    metric = getattr(metrics, name)(fields=fields)
    for batch in batches:
        metric.update(batch)
    return float(metric.compute())


def of_pixels(name: str, maps: Array, masks: Array) -> tuple[float, float]:
    """Return our value of a metric and anomalib's."""
    batch = data.ImageBatch(
        image=torch.zeros(len(maps), 3, 1, 1),
        anomaly_map=torch.from_numpy(maps),
        gt_mask=torch.from_numpy(masks),
    )
    ours = float(METRICS[name](count(list(zip(maps, masks, strict=True)))))
    return ours, theirs(name, [batch], ("anomaly_map", "gt_mask"))


# --- Predictions


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("surfaces") / "set"
    assert flawsight("data", "make", root, "--pairs", 4, "--train", 6, "--families", "leather",
                     "--size", SIDE)[0] == 0  # fmt: skip
    return root


@pytest.fixture(scope="module")
def predict(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    torch.manual_seed(0)
    model = models.Padim(
        backbone="resnet18",
        layers=["layer1"],
        n_features=20,
        pre_trained=False,
        pre_processor=models.Padim.configure_pre_processor(image_size=(SIDE, SIDE)),
    )
    engine = engines.Engine(
        accelerator="cpu", default_root_dir=tmp_path_factory.mktemp("results"), logger=False
    )
    engine.fit(model=model, datamodule=mvtec(surfaces))
    return lambda **source: engine.predict(model=model, **source)


def mvtec(root: Path) -> Any:
    return data.MVTecAD(root, "leather", train_batch_size=3, eval_batch_size=3, num_workers=0)


def test_a_bench_of_saved_predictions_has_the_metrics_of_anomalib(
    surfaces: Path, predict: Callable[..., list[Any]], tmp_path: Path
) -> None:
    batches = predict(datamodule=mvtec(surfaces))
    save_predictions(batches, tmp_path / "padim")
    code, output = flawsight("bench", "--data", surfaces, "--detector", f"run:{tmp_path / 'padim'}",
                             "--resamples", "5", "--out", tmp_path / "bench")  # fmt: skip
    assert code == 0, output
    with (tmp_path / "bench/metrics.csv").open(newline="") as file:
        found = {
            row["metric"]: float(row["value"])
            for row in csv.DictReader(file)
            if row["source"] == "ours" and row["group"] == "pooled" and row["value"]
        }
    for level, fields in (
        ("image", ("pred_score", "gt_label")),
        ("pixel", ("anomaly_map", "gt_mask")),
    ):
        for name, ours in (("AUROC", "auroc"), ("AUPR", "aupr"), ("F1Max", "f1_max")):
            expected = theirs(name, batches, fields)
            # maps are kept in half precision
            assert found[f"{level}_{ours}"] == pytest.approx(expected, abs=1e-3), name
    expected = theirs("AUPRO", batches, ("anomaly_map", "gt_mask"))
    assert found["pixel_aupro"] == pytest.approx(expected, abs=1e-3)


def test_maps_of_a_turned_photo_are_turned_with_it(
    surfaces: Path, predict: Callable[..., list[Any]], tmp_path: Path
) -> None:
    photo = Image.open(next((surfaces / "leather/test/good").iterdir())).resize((90, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "plain.png")
    photo.save(tmp_path / "turned.png", exif=exif)
    save_predictions(predict(data_path=tmp_path), tmp_path / "run")
    plain, turned = PredictionsDetector(tmp_path / "run").predict(
        [tmp_path / "plain.png", tmp_path / "turned.png"]
    )
    assert plain.anomaly_map.shape == (60, 90)
    np.testing.assert_array_equal(turned.anomaly_map, np.rot90(plain.anomaly_map, -1))


def test_words_without_score_or_map_are_saved(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    batch = data.ImageBatch(
        image=torch.zeros(1, 3, 6, 8),
        image_path=[str(tmp_path / "a.png")],
        pred_label=torch.tensor([1.0]),
        explanation=["YES: a dent"],
    )
    save_predictions([batch], tmp_path / "run")
    (found,) = PredictionsDetector(tmp_path / "run").predict([tmp_path / "a.png"])
    assert (found.pred_score, found.pred_label, found.anomaly_map) == (None, True, None)
    assert found.explanation == "YES: a dent"


# --- Metrics


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=40)
@given(maps=st.one_of(unit_maps, tied_maps), masks=hnp.arrays(bool, (3, 5, 5)))
def test_pixel_metrics_are_those_of_anomalib(name: str, maps: Array, masks: Array) -> None:
    masks[:, 0, 0] = False  # of masks without a good pixel, see below
    ours, other = of_pixels(name, maps, masks)
    if not np.isnan(ours):
        assert ours == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("kind", ["smooth", "all equal", "perfect", "opposite"])
def test_pixel_metrics_of_plain_cases_are_those_of_anomalib(name: str, kind: str) -> None:
    maps, masks = (np.stack(arrays) for arrays in zip(*random_images(0, number=6), strict=True))
    maps = {
        "smooth": (maps - maps.min()) / np.ptp(maps),
        "all equal": np.full_like(maps, 0.5),
        "perfect": masks.astype(np.float32),
        "opposite": 1 - masks.astype(np.float32),
    }[kind]
    ours, other = of_pixels(name, maps, masks)
    assert ours == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("name", ["AUROC", "AUPR", "F1Max"])
@settings(max_examples=40)
@given(
    ranked=st.lists(st.tuples(st.booleans(), st.integers(0, 7)), min_size=2, max_size=60).filter(
        lambda pairs: len({label for label, _ in pairs}) == 2
    )
)
def test_image_metrics_are_those_of_anomalib(name: str, ranked: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([a for a, _ in ranked]), np.array([b / 7 for _, b in ranked])
    batch = data.ImageBatch(
        image=torch.zeros(len(labels), 3, 1, 1),
        pred_score=torch.from_numpy(scores),
        gt_label=torch.from_numpy(labels),
    )
    expected = theirs(name, [batch], ("pred_score", "gt_label"))
    assert float(METRICS[name](counts_of(labels, scores))) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("defective", [False, True])
def test_where_one_class_defines_nothing_anomalib_gives_0_or_1(name: str, defective: bool) -> None:
    maps = np.random.default_rng(0).random((2, 6, 6), dtype=np.float32)
    ours, other = of_pixels(name, maps, np.full(maps.shape, defective))
    assert np.isnan(ours)
    assert other == (1 if defective and name in ("AUPR", "F1Max") else 0)


def test_anomalib_counts_an_image_that_is_all_defect_as_good_in_aupro() -> None:
    maps, masks = np.ones((2, 4, 4), np.float32), np.ones((2, 4, 4), bool)
    maps[0, 0, 0] = masks[0, 0, 0] = 0
    ours, other = of_pixels("AUPRO", maps, masks)
    assert ours == 1
    assert other < 0.5


@pytest.mark.parametrize("name", ["AUROC", "AUPR"])
def test_anomalib_loses_the_order_of_scores_far_above_1(name: str) -> None:
    """Scores outside [0, 1] are taken for logits there, and float32 squeezes 20 and more to 1."""
    maps, masks = (np.stack(arrays) for arrays in zip(*random_images(0), strict=True))
    ours, other = of_pixels(name, maps - maps.min() + 20, masks)
    assert ours == pytest.approx(of_pixels(name, maps / 100 + 0.5, masks)[0], abs=1e-3)
    assert abs(ours - other) > 0.01
