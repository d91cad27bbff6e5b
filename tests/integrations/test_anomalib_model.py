"""flawsight as a model of anomalib, against the Inspector and the bench; needs anomalib 2."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flawsight.errors import AnswerError, ModelError
from flawsight.export.export_regions import MAP_THRESHOLD
from flawsight.inspector import Inspector
from helpers.command_line import flawsight

reason = "anomalib is not installed"
data = pytest.importorskip("anomalib.data", reason=reason)
engines = pytest.importorskip("anomalib.engine", reason=reason)

from flawsight.integrations.anomalib import Flawsight  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("surfaces") / "set"
    assert flawsight("data", "make", root, "--pairs", 4, "--train", 2, "--families", "leather",
                     "--size", 64)[0] == 0  # fmt: skip
    return root


@pytest.fixture
def model() -> Flawsight:
    """Anew for each test: a visualizer keeps to the folder of its first engine."""
    return Flawsight(device="cpu", batch_size=2)


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    return engines.Engine(accelerator="cpu", default_root_dir=tmp_path / "results", logger=False)


def mvtec(root: Path) -> Any:
    return data.MVTecAD(root, "leather", train_batch_size=3, eval_batch_size=3, num_workers=0)


def same_as_inspector(batches: list[Any], inspector: Inspector) -> int:
    """Compare all images of batches with their inspections; return how many there are."""
    images = 0
    for batch in batches:
        for index, inspection in enumerate(inspector(list(batch.image_path))):
            assert float(batch.pred_score[index]) == pytest.approx(inspection.pred_score, abs=1e-4)
            assert bool(batch.pred_label[index]) is inspection.pred_label
            assert batch.explanation[index] == inspection.explanation
            anomaly_map = np.asarray(batch.anomaly_map[index]).squeeze()
            np.testing.assert_allclose(anomaly_map, inspection.anomaly_map, atol=1e-4)
            np.testing.assert_array_equal(
                np.asarray(batch.pred_mask[index]).squeeze(),
                anomaly_map > np.float32(MAP_THRESHOLD),
            )
            images += 1
    return images


def test_predictions_are_the_inspectors(model: Flawsight, engine: Any, surfaces: Path) -> None:
    batches = engine.predict(model=model, datamodule=mvtec(surfaces))
    assert same_as_inspector(batches, model.inspector) == 8


def test_a_folder_of_photos_is_predicted_and_shown(
    model: Flawsight, engine: Any, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, size in (("a.png", (80, 60)), ("b.png", (50, 90))):
        pixels = np.random.default_rng(len(name)).integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(photos / name)
    batches = engine.predict(model=model, data_path=photos)
    assert same_as_inspector(batches, model.inspector) == 2
    assert {path.name for path in (tmp_path / "results").rglob("*.png")} == {"a.png", "b.png"}


def test_metrics_are_those_of_a_bench(
    model: Flawsight, engine: Any, surfaces: Path, tmp_path: Path
) -> None:
    (found,) = engine.test(model=model, datamodule=mvtec(surfaces))
    code, output = flawsight("bench", "--data", surfaces, "--detector", "flawsight,device=cpu",
                             "--resamples", "5", "--out", tmp_path / "bench")  # fmt: skip
    assert code == 0, output
    with (tmp_path / "bench/metrics.csv").open(newline="") as file:
        figures = {
            row["metric"]: float(row["value"])
            for row in csv.DictReader(file)
            if row["source"] == "ours" and row["group"] == "pooled" and row["value"]
        }
    # maps are kept in half precision
    for theirs, ours in (("image_AUROC", "image_auroc"), ("pixel_AUROC", "pixel_auroc")):
        assert found[theirs] == pytest.approx(figures[ours], abs=1e-3)


def test_what_holds_no_answer_does_not_pass_for_good(
    engine: Any, surfaces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Flawsight(device="cpu")
    inspect = model.inspector.inspect_batch
    monkeypatch.setattr(
        model.inspector,
        "inspect_batch",
        lambda images: [AnswerError("No Yes or No."), *inspect(images)[1:]],
    )
    batch = engine.predict(model=model, datamodule=mvtec(surfaces))[0]
    assert (float(batch.pred_score[0]), bool(batch.pred_label[0])) == (0.5, True)
    assert batch.explanation[0] == "No Yes or No."
    assert not batch.anomaly_map[0].any()
    assert not batch.pred_mask[0].any()
    assert batch.anomaly_map[1].any()


def test_anomalibs_post_processor_rescales_but_leaves_labels_and_masks(
    model: Flawsight, engine: Any, surfaces: Path
) -> None:
    plain = engine.predict(model=model, datamodule=mvtec(surfaces))
    rescaling = Flawsight(device="cpu", batch_size=2, post_processor=True)
    scaled = engine.predict(model=rescaling, datamodule=mvtec(surfaces))
    for one, other in zip(plain, scaled, strict=True):
        assert not np.allclose(one.pred_score, other.pred_score)
        np.testing.assert_array_equal(one.pred_label, other.pred_label)
        np.testing.assert_array_equal(one.pred_mask, other.pred_mask)


def test_a_missing_model_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        Flawsight(tmp_path / "nothing")
