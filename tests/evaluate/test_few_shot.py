"""flawsight with good photos drawn for each product, and the learning curve."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flawsight.data.dataset import Dataset
from flawsight.data.open import open_datasets
from flawsight.errors import DatasetError, SettingsError
from flawsight.evaluate.bench import run_detector
from flawsight.evaluate.detectors.compared_traces import ComparedTraces, SharedFeatures
from flawsight.evaluate.detectors.few_shot import FlawsightLearner, check_good, draw, good_photos
from flawsight.evaluate.detectors.spec import open_detector, parse_spec
from flawsight.evaluate.learning_curve import (
    CurvePoint,
    curve_points,
    curve_specs,
    curve_tables,
    parse_counts,
)
from flawsight.evaluate.plots import draw_learning_curves
from flawsight.inspector import Inspector
from flawsight.runs.read import read_description, read_rows
from flawsight.runs.trace_store import TraceFolder
from flawsight.settings import PRESETS
from helpers.command_line import flawsight
from helpers.good_parts import part, write_parts

SETTINGS = replace(PRESETS["default"], image_tokens=64, max_new_tokens=8, crops=1)
SMALL = "device=cpu,image_tokens=64,max_new_tokens=8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products with good photos to learn from, one with few."""
    root = tmp_path_factory.mktemp("bench") / "parts"
    for index, (product, count) in enumerate({"disc": 5, "plate": 3}.items()):
        write_parts(root / product / "train/good", range(100 * index, 100 * index + count))
        write_parts(root / product / "test/good", range(100 * index + 20, 100 * index + 22))
        write_parts(root / product / "test/spot", range(100 * index + 40, 100 * index + 42), True)
    return root


@pytest.fixture(scope="module")
def whole(folder: Path) -> Dataset:
    return open_datasets(str(folder))[0]


@pytest.fixture(scope="module")
def zero_shot() -> Inspector:
    return Inspector.from_pretrained(device="cpu", settings=SETTINGS, batch_size=4)


def learner(
    inspector: Inspector, traces: Path, count: int | None = 3, seed: int = 0, explain: str = "never"
) -> FlawsightLearner:
    settings = replace(SETTINGS, explain=explain)
    features = SharedFeatures(inspector.mllm, settings)
    return FlawsightLearner(
        "few", inspector.mllm, settings, 4, inspector.prior, features, traces, count, seed
    )


def test_a_draw_is_fixed_by_its_seed() -> None:
    photos = [Path(f"{index}.png") for index in range(30)]
    first = draw(photos, 8, 3)
    assert first == draw(photos, 8, 3)
    assert first == sorted(first, key=photos.index)
    assert len({*first}) == 8
    assert len({tuple(draw(photos, 8, seed)) for seed in range(6)}) == 6
    assert draw(photos, None, 0) == draw(photos, 30, 0) == draw(photos, 99, 0) == photos


def test_photos_to_learn_from_are_those_of_train_good(whole: Dataset) -> None:
    good = good_photos(whole)
    assert {name: len(photos) for name, photos in good.items()} == {"disc": 5, "plate": 3}
    assert all("train/good" in str(photo) for photos in good.values() for photo in photos)
    check_good(whole.split("test"), good)
    with pytest.raises(DatasetError, match="choose --split test"):
        check_good(whole.split("train"), good)
    with pytest.raises(DatasetError, match="no good photos in train/good of plate;"):
        check_good(whole.split("test"), good | {"plate": ()})


@pytest.mark.parametrize("explain", ["never", "defective", "always"])
def test_it_inspects_as_an_inspector_of_each_product_does(
    explain: str, whole: Dataset, zero_shot: Inspector, tmp_path: Path
) -> None:
    test, good = whole.split("test").limited(1), good_photos(whole)
    detector = learner(zero_shot, tmp_path / "traces", explain=explain).learned(test, good)
    images = [sample.image for sample in test.samples]
    found = dict(zip(images, detector.predict(images[::-1])[::-1], strict=True))
    for category in test.categories:
        taught = zero_shot.learn(draw(good[category], 3, 0))
        assert taught.reference is not None
        alone = Inspector(
            zero_shot.mllm, replace(SETTINGS, explain=explain), 4, prior=zero_shot.prior,
            reference=taught.reference,
        )  # fmt: skip
        own = [sample.image for sample in test.samples if sample.category == category]
        for image, expected in zip(own, alone(list(own)), strict=True):
            assert found[image].pred_score == pytest.approx(expected.pred_score, abs=1e-5)
            assert found[image].pred_label == expected.pred_label
            assert (found[image].explanation or "") == expected.explanation
            np.testing.assert_allclose(
                found[image].anomaly_map, expected.anomaly_map, atol=2e-4, rtol=0
            )


def test_words_and_features_are_shared_by_all_references(
    whole: Dataset, zero_shot: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = whole.split("test").samples[0].image
    features = SharedFeatures(zero_shot.mllm, SETTINGS)
    words = TraceFolder(tmp_path, zero_shot.mllm, SETTINGS, zero_shot.prior)
    plain = Inspector(zero_shot.mllm, SETTINGS, prior=zero_shot.prior, trace_store=words)
    plain(image)
    monkeypatch.setattr("flawsight.inspector.ask", None)
    scores = []
    for seed in (0, 50):
        reference = zero_shot.learn([part(seed + index) for index in range(3)]).reference
        assert reference is not None
        store = ComparedTraces(features, reference, 0.5, "always", words)
        monkeypatch.setattr(SharedFeatures, "picture", None)
        scores.append(
            Inspector(
                zero_shot.mllm, SETTINGS, prior=zero_shot.prior, reference=reference,
                trace_store=store,
            )(image).pred_score
        )  # fmt: skip
        monkeypatch.setattr("flawsight.evaluate.detectors.compared_traces.read_images", None)
    assert scores[0] != scores[1]


def test_features_beyond_the_room_for_them_are_read_again(
    whole: Dataset, zero_shot: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flawsight.io.file_stamp import FileStamp

    image = str(whole.samples[0].image)
    none = SharedFeatures(zero_shot.mllm, SETTINGS, most=0)
    stamp = FileStamp.of_file(image)
    first = none.read(image, stamp)[0]
    assert first.equal(none.read(image, stamp)[0])
    monkeypatch.setattr("flawsight.evaluate.detectors.compared_traces.read_images", None)
    with pytest.raises(TypeError):
        none.read(image, stamp)


def test_a_run_says_of_each_product_what_was_learned(
    whole: Dataset, zero_shot: Inspector, tmp_path: Path
) -> None:
    test, good = whole.split("test"), good_photos(whole)
    detector = learner(zero_shot, tmp_path / "traces", count=4).learned(test, good)
    run = run_detector(tmp_path, test, detector, lambda row: None)
    about = read_description(run.folder)
    assert about["drawn"] == {"photos": 4, "seed": 0}
    found = about["references"]
    assert [one["photos"] for one in found.values()] == [4, 3]
    assert [one["promised"] for one in found.values()] == [1 / 5, 1 / 4]
    assert "threshold" not in about
    for row in read_rows(run.folder):
        category = "disc" if "/disc/" in row["image"] else "plate"
        assert row["pred_label"] == (row["pred_score"] > found[category]["threshold"])
    # The same draw resumes; another one is another run.
    run_detector(tmp_path, test, learner(zero_shot, tmp_path, 4).learned(test, good), print)
    with pytest.raises(Exception, match="another model or other settings"):
        run_detector(tmp_path, test, learner(zero_shot, tmp_path, 4, 1).learned(test, good), print)


def test_the_text_of_a_detector_names_its_good_photos(tmp_path: Path, zero_shot: Inspector) -> None:
    spec = parse_spec(f"flawsight:reference=2,seed=3,{SMALL}")
    opened = open_detector(spec, tmp_path, 4)
    assert isinstance(opened, FlawsightLearner)
    assert opened.count == 2
    reference = zero_shot.learn([part(0), part(1)]).reference
    assert reference is not None
    reference.save(tmp_path / "a.reference")
    spec = parse_spec(f"flawsight:reference={tmp_path}/a.reference,{SMALL}")
    opened = open_detector(spec, tmp_path, 4)
    assert opened.about()["reference_sha256"] == reference.sha256


def test_a_learning_curve_is_run_by_the_command_and_made_anew(folder: Path, tmp_path: Path) -> None:
    use = ("bench", "--data", folder, "--out", tmp_path, "--resamples", "9")
    code, output = flawsight(
        *use, "--learning-curve", "1,2,8,all", "--seeds", "2", "--detector", f"flawsight:{SMALL}",
    )  # fmt: skip
    assert code == 0, output
    assert "Left out: 8 good photos; some category has only 3." in output
    rows = list(csv.DictReader((tmp_path / "learning-curve.csv").open()))
    found = {(row["photos"], row["metric"]): row for row in rows}
    assert {photos for photos, _ in found} == {"1", "2", "4"}
    assert found["2", "promised"]["value"] == str(1 / 3)
    assert found["1", "promised"]["value"] == ""
    assert found["2", "image_auroc"]["draws"] == "2"
    assert found["4", "image_auroc"]["deviation"] == ""
    assert 0 <= float(found["4", "false_alarms"]["value"]) <= 1
    assert float(found["4", "image_auroc"]["value"]) == 1
    assert (tmp_path / "learning-curve-parts.png").read_bytes()[:4] == b"\x89PNG"
    table = (tmp_path / "learning-curve.md").read_text()
    (tmp_path / "learning-curve.md").unlink()
    assert flawsight("bench", "--from", tmp_path)[0] == 0
    assert (tmp_path / "learning-curve.md").read_text() == table


def test_points_are_means_over_draws(tmp_path: Path) -> None:
    points = [
        CurvePoint("parts", "few", 4.0, False, "image_auroc", 0.75, 0.05, 3),
        CurvePoint("parts", "few", 4.0, False, "promised", 0.2, 0.0, 3),
        CurvePoint("parts", "few", 9.0, True, "image_auroc", 0.875, None, 1),
    ]
    (table,) = curve_tables(points)
    assert table.metrics == ("image AUROC", "promised")
    assert table.rows == (
        ("few", "4", "3", "75.0 ± 5.0", "20.0 ± 0.0"),
        ("few", "all, 9", "1", "87.5", "–"),
    )
    assert [path.name for path in draw_learning_curves(points, tmp_path)] == [
        "learning-curve-parts.png"
    ]
    assert curve_points([], []) == []


def test_what_has_no_learning_curve_is_refused() -> None:
    assert parse_counts("1, 2,all,2") == [1, 2, None]
    for text in ("", "0", "-1", "1,two"):
        with pytest.raises(SettingsError, match="numbers of good photos"):
            parse_counts(text)
    for detector in ("texture", "flawsight:reference=4"):
        with pytest.raises(SettingsError, match="has no learning curve"):
            curve_specs(parse_spec(detector), [1], 2)
    specs = curve_specs(parse_spec("flawsight:preset=paper"), [4, None], 2)
    assert [spec.name for spec in specs] == [
        "flawsight:preset=paper · 4 good, draw 1",
        "flawsight:preset=paper · 4 good, draw 2",
        "flawsight:preset=paper · all good",
    ]
