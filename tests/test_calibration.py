"""Calibrated thresholds: the promise of split-conformal prediction, and how a user gets it."""

import json
import math
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from flawsight.calibration import (
    Calibration,
    NormalScores,
    calibrate,
    conformal_threshold,
)
from flawsight.cli import app
from flawsight.data.dataset import Sample
from flawsight.errors import CalibrationError
from flawsight.evaluate.plots import draw_histogram
from flawsight.inspector import Inspector
from flawsight.mllm.load import MLLM
from flawsight.refine.attention_prior import AttentionPrior
from flawsight.runs.normal_scores import category_of_path, read_normal_scores
from flawsight.runs.read import read_rows
from flawsight.settings import Settings
from flawsight_surfaces import render_pair
from helpers.bundled import FEW_OPTIONS

MODEL = {"name": "some", "sha256": "a" * 64}


def flawsight(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


# Few distinct values, so that ties are common.
scores_with_ties = st.lists(
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]) | st.floats(0, 1), min_size=1
)


@given(scores_with_ties, st.integers(1, 99))
def test_threshold_is_the_smallest_with_enough_scores_at_or_below(
    scores: list[float], percent: int
) -> None:
    exact = Fraction(percent, 100)
    enough = [s for s in scores if sum(t <= s for t in scores) >= (len(scores) + 1) * (1 - exact)]
    if not enough:
        with pytest.raises(CalibrationError, match=f"at least {math.ceil(1 / exact) - 1} "):
            conformal_threshold(scores, percent / 100)
        return
    threshold = conformal_threshold(scores, percent / 100)
    assert threshold == min(enough)
    assert sum(s > threshold for s in scores) <= exact * len(scores)


@pytest.mark.parametrize(("rate", "count"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.3, 3)])
def test_exactly_as_many_images_as_the_message_says_suffice(rate: float, count: int) -> None:
    assert conformal_threshold([0.1] * count, rate) == 0.1
    with pytest.raises(CalibrationError, match=f"at least {count} normal"):
        conformal_threshold([0.1] * (count - 1), rate)


@pytest.mark.parametrize("digits", [1, 12])
def test_new_normal_parts_are_called_defective_no_more_often_than_promised(digits: int) -> None:
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(4000):
        *known, new = rng.beta(1, 5, 40).round(digits)
        alarms.append(new > conformal_threshold(known, 0.1))
    # 39 + 1 parts: exactly 0.1 without ties, less with them; 4 standard errors are 0.019.
    assert np.mean(alarms) <= 0.119
    if digits == 12:
        assert np.mean(alarms) >= 0.081


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_senseless_rate_is_refused(rate: float) -> None:
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        conformal_threshold([0.1, 0.2], rate)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(CalibrationError, match="NaN"):
        conformal_threshold([0.1, float("nan")], 0.5)


def test_categories_have_thresholds_of_their_own_and_survive_the_file(tmp_path: Path) -> None:
    scores = NormalScores({"nut": (0.1, 0.2, 0.3), "cap": (0.7, 0.8, 0.9)}, 0, MODEL, {"alpha": 1})
    calibration = calibrate(scores, 0.25, by_category=True)
    calibration.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == calibration
    assert calibration.threshold("nut") == 0.3
    assert calibration.threshold("cap") == 0.9
    assert calibration.threshold() == 0.9
    assert calibration.counts == {"all": 6, "cap": 3, "nut": 3}
    with pytest.raises(CalibrationError, match="cap, nut"):
        calibration.threshold("bolt")
    with pytest.raises(CalibrationError, match="--by-category"):
        calibrate(scores, 0.25).threshold("nut")
    with pytest.raises(CalibrationError, match=r"cap: .* at least 4"):
        calibrate(scores, 0.2, by_category=True)
    calibration.check("a" * 64, {"alpha": 1}, None)
    with pytest.raises(CalibrationError, match="another model"):
        calibration.check("b" * 64, {"alpha": 1}, None)
    with pytest.raises(CalibrationError, match="alpha 1"):
        calibration.check("a" * 64, {"alpha": 2}, None)
    with pytest.raises(CalibrationError, match="prior None"):
        calibration.check("a" * 64, {"alpha": 1}, "c" * 64)
    # A setting that is younger than the file counts as its default.
    calibration.check("a" * 64, {"alpha": 1, "seed": 0}, None)
    with pytest.raises(CalibrationError, match="seed 0"):
        calibration.check("a" * 64, {"alpha": 1, "seed": 2}, None)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 9}'])
def test_a_damaged_calibration_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(CalibrationError, match="calibrat"):
        Calibration.load(tmp_path / "c.json")


def test_only_normal_images_of_a_bench_count(tmp_path: Path) -> None:
    cell = tmp_path / "data" / "detector"
    cell.mkdir(parents=True)
    (cell / "run.json").write_text(json.dumps({"model": MODEL, "settings": {}}))
    labels = {"a": 0, "b": 1, "c": 0, "d": 0}
    truth = [{"dataset": "x", "root": "/x"}]
    truth += [
        Sample(Path(f"/x/{n}.png"), label, f"cat-{n}", "test", "good").to_json()
        for n, label in labels.items()
    ]
    (cell.parent / "truth.jsonl").write_text("".join(json.dumps(t) + "\n" for t in truth))
    rows = [{"image": f"/x/{n}.png", "pred_score": 0.5} for n in "abc"]
    rows.append({"image": "/x/d.png", "error": "ImageError: broken"})
    (cell / "inspections.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    scores = read_normal_scores(cell)
    assert scores.by_category == {"cat-a": (0.5,), "cat-c": (0.5,)}
    assert scores.skipped == 1
    assert scores.model == MODEL


def test_category_of_a_path() -> None:
    assert category_of_path("/d/bottle/train/good/1.png") == "bottle"
    assert category_of_path("/d/bottle/test/good/1.png") == "bottle"
    assert category_of_path("/photos/line3/1.png") == "line3"


def test_the_histogram_is_a_picture(tmp_path: Path) -> None:
    draw_histogram(tmp_path / "h.png", [0.1, 0.1, 0.2], 0.2, 0.25)
    with Image.open(tmp_path / "h.png") as picture:
        assert len(set(picture.convert("RGB").getdata())) > 10


def test_without_matplotlib_there_is_a_calibration_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"model": MODEL, "settings": {}}))
    (run / "inspections.jsonl").write_text('{"image": "/x/a.png", "pred_score": 0.5}\n')
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = tmp_path / "c.json"
    code, output = flawsight("calibrate", run, "--false-alarm-rate", 0.5, "--out", out)
    assert code == 0
    assert "No histogram. This needs matplotlib: pip install 'flawsight[bench]'." in output
    assert Calibration.load(out).threshold() == 0.5


def test_from_photos_to_calibrated_verdicts(tmp_path: Path) -> None:
    photos = tmp_path / "line3"
    photos.mkdir()
    rng = np.random.default_rng(4)
    for index, sample in enumerate(render_pair(rng, (96, 96)) + render_pair(rng, (96, 96))):
        Image.fromarray(sample.image).save(photos / f"{index}.png")
    out = tmp_path / "c.json"
    # Whatever is above a flat map is a region.
    any_region = (*FEW_OPTIONS, "--set", "region_threshold=0.2", "--set", "region_peak=0.2")
    strict = ("--false-alarm-rate", 0.01)
    code, output = flawsight("calibrate", photos, *any_region, *strict, "--out", out)
    assert code == 2
    assert "at least 99 normal images; 4 allow 0.2 or more" in output
    assert not out.exists()
    rate = ("--false-alarm-rate", 0.2, "--by-category")
    code, output = flawsight("calibrate", photos, *any_region, *rate, "--out", out)
    assert code == 0, output
    assert (tmp_path / "c.json.png").exists()
    scores = [row["pred_score"] for row in read_rows(tmp_path / "c-run")]
    assert Calibration.load(out).thresholds == {"all": max(scores), "line3": max(scores)}

    # The same from the run, without a model.
    again = tmp_path / "again.json"
    assert flawsight("calibrate", tmp_path / "c-run", *rate, "--out", again)[0] == 0
    assert Calibration.load(again).thresholds == Calibration.load(out).thresholds

    flawsight("inspect", photos, *any_region, "--out", tmp_path / "plain")
    plain = read_rows(tmp_path / "plain")
    assert any(row["pred_label"] for row in plain)
    calibrated = ("inspect", photos, *any_region, "--calibration", out)
    code, output = flawsight(*calibrated, "--category", "line3", "--out", tmp_path / "run")
    assert code == 0
    assert "0 defective, 4 good" in output
    rows = read_rows(tmp_path / "run")
    assert not any(row["pred_label"] for row in rows)
    assert [row["answer"] for row in rows] == [row["answer"] for row in plain]
    assert json.loads((tmp_path / "run/run.json").read_text())["threshold"] == max(scores)
    # Regions follow the verdict.
    assert [bool(row["regions"]) for row in plain] == [row["pred_label"] for row in plain]
    assert not any(row["regions"] for row in rows)
    assert {row["region_rule"]["calibrated"] for row in rows} == {True}
    # The run without a calibration becomes the same, without the model.
    code, output = flawsight(*calibrated, "--category", "line3", "--out", tmp_path / "plain")
    assert (code, "no model was asked" in output) == (0, True)
    assert [row | {"seconds": 0} for row in read_rows(tmp_path / "plain")] == [
        row | {"seconds": 0} for row in rows
    ]

    code, output = flawsight(*calibrated, "--threshold", 0, "--out", tmp_path / "zero")
    assert (code, "4 defective, 0 good" in output) == (0, True)
    for extra, words in (
        (("--set", "tau_t=0.3", "--out", tmp_path / "a"), "other settings"),
        (("--category", "bolt", "--out", tmp_path / "b"), "line3"),
        (("--threshold", 2, "--out", tmp_path / "plain"), "threshold is 2"),
    ):
        code, output = flawsight(*calibrated, *extra)
        assert (code, words in output) == (2, True), output
    values = json.loads(out.read_text())
    values["model"]["sha256"] = "0" * 64
    out.write_text(json.dumps(values))
    code, output = flawsight(*calibrated, "--out", tmp_path / "c")
    assert (code, "another model" in output) == (2, True)
    code, output = flawsight("inspect", photos, "--category", "x", "--out", tmp_path / "d")
    assert (code, "--calibration" in output) == (2, True)


def test_regions_are_calibrated_on_the_peaks_of_good_maps(tmp_path: Path) -> None:
    peaks = np.random.default_rng(0).uniform(0.2, 0.9, 19).tolist()
    (tmp_path / "run.json").write_text(json.dumps({"model": MODEL, "settings": {}}))
    with (tmp_path / "inspections.jsonl").open("w") as file:
        for index, peak in enumerate(peaks):
            row = {"image": f"{index}.png", "pred_score": 0.5, "map_peak": peak}
            file.write(json.dumps(row) + "\n")
    scores = read_normal_scores(tmp_path)
    calibration = calibrate(scores, 0.1)
    assert calibration.region_threshold() == conformal_threshold(peaks, 0.1)
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    # A run of another program does not tell.
    with (tmp_path / "inspections.jsonl").open("a") as file:
        file.write('{"image": "other.png", "pred_score": 0.5}\n')
    assert calibrate(read_normal_scores(tmp_path), 0.1).region_threshold() is None


def test_an_inspector_takes_its_thresholds_from_a_calibration(tiny_mllm: MLLM) -> None:
    settings = Settings(attention_prior=True)
    prior = AttentionPrior(torch.rand(15, 15) + 0.5, None, 3, tiny_mllm.sha256)
    scores = NormalScores(
        {"nut": (0.2, 0.3), "cap": (0.8, 0.9)},
        0,
        {"name": "tiny", "sha256": tiny_mllm.sha256},
        settings.to_json(),
        prior.sha256,
        {"nut": (0.4, 0.5), "cap": (0.6, 0.7)},
    )
    calibration = calibrate(scores, 0.4, by_category=True)

    def inspector(**changes: Any) -> Inspector:
        given = {"calibration": calibration, "prior": prior} | changes
        return Inspector(tiny_mllm, given.pop("settings", settings), **given)

    assert (inspector().threshold, inspector().settings.region_threshold) == (0.8, 0.6)
    assert inspector(category="nut").threshold == 0.3
    assert inspector(category="nut").settings.region_threshold == 0.5
    wins = inspector(threshold=0.1)
    assert (wins.threshold, wins.settings, wins.calibration) == (0.1, settings, None)
    with pytest.raises(CalibrationError, match="no threshold for the category lid"):
        inspector(category="lid")
    with pytest.raises(CalibrationError, match="other settings"):
        inspector(prior=None)
    with pytest.raises(CalibrationError, match="other settings"):
        inspector(settings=Settings())
    other = replace(calibration, model={"name": "other", "sha256": "b" * 64})
    with pytest.raises(CalibrationError, match="another model"):
        inspector(calibration=other)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "foo"},
        {"model": None},
        {"settings": ["a"]},
        {"thresholds": {"all": "high"}},
        {"thresholds": [0.5]},
        {"region_thresholds": [1]},
        {"region_thresholds": None},
        {"counts": 3},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_calibration_of_the_wrong_form_is_refused(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "c.json"
    calibrate(NormalScores({"a": (0.1, 0.2)}, 0, {"sha256": "a"}, {}), 0.5).save(path)
    assert Calibration.load(path).threshold() == 0.2
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CalibrationError, match="flawsight calibrate"):
        Calibration.load(path)
