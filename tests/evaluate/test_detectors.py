"""Detectors without a model: folders of predictions, and the texture baseline."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flawsight.errors import DetectorError, ImageError
from flawsight.evaluate.detectors.predictions import PredictionsDetector
from flawsight.evaluate.detectors.protocol import Prediction
from flawsight.evaluate.detectors.texture import TextureDetector
from flawsight.integrations.anomalib_predictions import save_predictions
from flawsight.io.images import read_image
from helpers.tiff_pages import pages


@dataclass
class _Batch:
    """The fields of anomalib's ImageBatch that are read."""

    image_path: list[str] | None
    pred_score: torch.Tensor | None = None
    pred_label: torch.Tensor | None = None
    anomaly_map: torch.Tensor | None = None
    explanation: list[str] | None = None


def _image(path: Path, size: tuple[int, int] = (8, 6), orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, "grey").save(path, exif=exif)
    return path


def _write(folder: Path, *rows: dict[str, object], name: str = "predictions.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _one(folder: Path, image: Path) -> Prediction:
    (outcome,) = PredictionsDetector(folder).predict([image])
    assert isinstance(outcome, Prediction), outcome
    return outcome


def _error(folder: Path, image: Path) -> str:
    (outcome,) = PredictionsDetector(folder).predict([image])
    assert isinstance(outcome, DetectorError)
    return str(outcome)


@pytest.mark.parametrize("name", ["predictions.jsonl", "inspections.jsonl"])
def test_jsonl_rows_are_read(tmp_path: Path, name: str) -> None:
    image = _image(tmp_path / "a.png")
    row = {"image": str(image), "pred_score": 0.25, "pred_label": True, "explanation": "dent"}
    prediction = _one(_write(tmp_path / "run", row, name=name), image)
    assert prediction == Prediction(pred_score=0.25, pred_label=True, explanation="dent")


def test_csv_rows_are_read_and_empty_cells_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/predictions.csv").write_text(
        "image,pred_score,pred_label\na.png,3.5,\nb.png,,0\n"
    )
    folder = tmp_path / "run"
    assert _one(folder, tmp_path / "a.png") == Prediction(pred_score=3.5)
    assert _one(folder, tmp_path / "b.png") == Prediction(pred_label=False)


def test_longest_common_ending_wins_and_ambiguity_is_an_error(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "run",
        {"image": "/elsewhere/bottle/test/good/000.png", "pred_score": 1},
        {"image": "C:\\data\\bottle\\test\\bad\\000.png", "pred_score": 2},
    )
    assert _one(folder, tmp_path / "bottle/test/good/000.png").pred_score == 1
    assert _one(folder, tmp_path / "bottle/test/bad/000.png").pred_score == 2
    assert "2 predictions" in _error(folder, tmp_path / "other/000.png")
    assert "no prediction" in _error(folder, tmp_path / "bad/001.png")


def test_failures_and_nonsense_are_errors_in_their_place(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "run",
        {"image": "a.png", "error": "AnswerError: none"},
        {"image": "b.png", "pred_score": float("nan")},
        {"image": "c.png", "pred_label": "perhaps"},
    )
    assert "AnswerError" in _error(folder, tmp_path / "a.png")
    assert "finite" in _error(folder, tmp_path / "b.png")
    assert "true or false" in _error(folder, tmp_path / "c.png")


@pytest.mark.parametrize("form", ["npz", "npz other", "npy", "png", "png16", "tif"])
def test_maps_of_every_form(tmp_path: Path, form: str) -> None:
    image = _image(tmp_path / "a.png")
    expected = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    path = tmp_path / f"map.{form[:3]}"
    if form == "npz":
        np.savez(path, anomaly_map=expected, other=np.zeros(3))
    elif form == "npz other":
        np.savez(path, scores=expected)
    elif form == "npy":
        np.save(path, expected)
    elif form == "png":
        Image.fromarray((expected * 255).round().astype(np.uint8)).save(path)
    elif form == "png16":
        Image.fromarray((expected * 65535).round().astype(np.uint16)).save(path)
    else:
        Image.fromarray(expected).save(path)
    folder = _write(tmp_path, {"image": str(image), "anomaly_map": path.name})
    anomaly_map = _one(folder, image).anomaly_map
    assert anomaly_map is not None
    np.testing.assert_allclose(anomaly_map, expected, atol=0.5 / 255 + 1e-6)


def test_map_must_fit_the_upright_image_and_be_finite(tmp_path: Path) -> None:
    image = _image(tmp_path / "a.jpg", orientation=6)
    folder = _write(tmp_path, {"image": "a.jpg", "anomaly_map": "map.npy"})
    np.save(tmp_path / "map.npy", np.zeros((8, 6)))
    assert _one(folder, image).anomaly_map is not None
    np.save(tmp_path / "map.npy", np.zeros((6, 8)))
    assert "resize" in _error(folder, image)
    np.save(tmp_path / "map.npy", np.full((8, 6), np.inf))
    assert "infinity" in _error(folder, image)


@pytest.mark.parametrize("way", ["pages", "turned.tif", "xmp.webp"])
def test_a_map_must_fit_the_photo_that_is_inspected(way: str, tmp_path: Path) -> None:
    """As `read_image` reads it: of the full page, and upright by any tag."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8))
    image = tmp_path / (way if "." in way else "pages.tif")
    if way == "pages":
        image.write_bytes(pages(((254, 1), photo.resize((4, 3))), (None, photo)))
    elif way == "turned.tif":
        photo.save(image, tiffinfo={274: 6})
    else:
        xmp = b'<x><rdf:Description tiff:Orientation="6"/></x>'
        photo.save(image, xmp=xmp, lossless=True)
    whole = read_image(image)
    assert whole.size == ((8, 6) if way == "pages" else (6, 8))
    folder = _write(tmp_path, {"image": image.name, "anomaly_map": "map.npy"})
    np.save(tmp_path / "map.npy", np.zeros((whole.height, whole.width)))
    assert _one(folder, image).anomaly_map is not None
    np.save(tmp_path / "map.npy", np.zeros((whole.width, whole.height)))
    assert "resize" in _error(folder, image)


def test_a_folder_without_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"predictions\.jsonl"):
        PredictionsDetector(tmp_path)


def test_about_changes_with_the_file(tmp_path: Path) -> None:
    before = PredictionsDetector(_write(tmp_path, {"image": "a.png", "pred_score": 1})).about()
    after = PredictionsDetector(_write(tmp_path, {"image": "a.png", "pred_score": 2})).about()
    assert before != after


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 3, 4), (2, 1, 1)])
def test_saved_batches_are_read_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = [_image(tmp_path / f"{name}.png") for name in "ab"]
    batch = _Batch(
        image_path=[str(image) for image in images],
        pred_score=torch.tensor([[0.5], [2.0]]),
        pred_label=torch.tensor([False, True]),
        anomaly_map=torch.stack([torch.full(shape[1:], 0.25), torch.full(shape[1:], 3.0)]),
    )
    save_predictions([batch], tmp_path / "run")
    second = _one(tmp_path / "run", images[1])
    assert (second.pred_score, second.pred_label, second.explanation) == (2.0, True, None)
    assert second.anomaly_map is not None
    np.testing.assert_allclose(second.anomaly_map, np.full((6, 8), 3.0))


def test_saved_maps_are_turned_upright_with_their_images(tmp_path: Path) -> None:
    image = _image(tmp_path / "a.jpg", orientation=6)  # 8×6 as stored
    stored = torch.arange(48.0).reshape(1, 6, 8)
    save_predictions([_Batch([str(image)], anomaly_map=stored)], tmp_path / "run")
    anomaly_map = _one(tmp_path / "run", image).anomaly_map
    np.testing.assert_array_equal(anomaly_map, np.rot90(stored[0].numpy(), -1))


def test_what_cannot_be_saved_is_told(tmp_path: Path) -> None:
    gone = _Batch([str(tmp_path / "gone.png")], anomaly_map=torch.zeros(1, 3, 4))
    with pytest.raises(ImageError, match=r"gone\.png"):
        save_predictions([gone], tmp_path / "run")
    with pytest.raises(DetectorError, match="image_path"):
        save_predictions([_Batch(None)], tmp_path / "run")


def test_texture_marks_the_odd_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(128, 8, (160, 200)).clip(0, 255).astype(np.uint8)
    spoiled = plain.copy()
    spoiled[60:80, 90:120] = 30
    for name, pixels in (("plain", plain), ("spoiled", spoiled)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    paths = [tmp_path / name for name in ("plain.png", "spoiled.png", "missing.png")]
    first, second, third = TextureDetector().predict(paths)
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert isinstance(third, ImageError)
    assert second.anomaly_map is not None
    assert second.anomaly_map.shape == (160, 200)
    assert second.anomaly_map.min() >= 0
    assert second.anomaly_map.max() <= 1
    assert second.anomaly_map[60:80, 90:120].mean() > 2 * second.anomaly_map.mean()
    assert second.pred_score > first.pred_score  # type: ignore[operator]


def test_texture_refuses_a_flat_image_and_takes_a_tiny_one(tmp_path: Path) -> None:
    for size in ((50, 40), (1, 1)):
        (outcome,) = TextureDetector().predict([_image(tmp_path / "flat.png", size)])
        assert isinstance(outcome, ImageError)
    for size in ((1, 2), (9, 40)):
        Image.linear_gradient("L").resize(size).save(tmp_path / "tiny.png")
        (outcome,) = TextureDetector().predict([tmp_path / "tiny.png"])
        assert isinstance(outcome, Prediction)
        assert "too few" in outcome.details["warnings"][0]
        assert outcome.anomaly_map is not None
        assert np.isfinite(outcome.anomaly_map).all()
