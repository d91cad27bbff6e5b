"""Rows of images that the model was not asked about, in everything that reads a run."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flawsight.cli.inspect_output import line_of
from flawsight.data.dataset import Sample
from flawsight.errors import RunFolderError
from flawsight.evaluate.bench import DetectorRun
from flawsight.evaluate.detectors.predictions import PredictionsDetector
from flawsight.evaluate.score_run import score_run
from flawsight.export.write_export import FORMATS, export
from flawsight.runs.folder import RunFolder
from flawsight.runs.parquet import rows_table
from flawsight.runs.read import read_array, read_description, read_rows
from flawsight.runs.relabel import rows_by_threshold
from flawsight.runs.unasked import is_unasked, unasked_sentence
from helpers.command_line import flawsight
from helpers.compared_runs import ABOUT, SETTINGS, inspected, make_compared_run, reference


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_compared_run(tmp_path / "run", tmp_path / "photos")
    return tmp_path / "run"


def test_their_rows_are_whole(run: Path) -> None:
    asked, defective, good = read_rows(run)
    assert [is_unasked(row) for row in (asked, defective, good)] == [False, True, True]
    assert "error" not in good
    assert (good["answer"], good["explanation"], good["tokens"]) == (None, "", [])
    assert (good["contradiction"], asked["contradiction"]) == (None, False)
    assert read_array(run, good, "token_maps").shape == (0, 6, 8)
    assert read_array(run, good, "nearest_good").shape == (12, 16, 3)
    assert unasked_sentence(asked) == ""
    assert unasked_sentence(good) == "Not asked: the reference calls it good."
    assert unasked_sentence(defective) == "Not asked: the reference calls it defective."


def test_a_detector_without_words_is_not_meant() -> None:
    assert not is_unasked({"pred_label": True, "pred_score": 0.7})
    assert not is_unasked({"answer": None, "evidence": {"words": 0.5}})


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.99])
def test_another_threshold_gives_what_a_new_run_would(threshold: float, run: Path) -> None:
    known = reference()
    rows = rows_by_threshold(run, read_rows(run), threshold)
    for row, (defective, asked) in zip(
        rows, [(True, True), (True, False), (False, False)], strict=True
    ):
        new = inspected(known, defective, asked, threshold=threshold).to_json()
        for name in ("pred_label", "contradiction", "disagreements", "regions"):
            assert row[name] == new[name], name
    assert any(region.get("good") for row in rows for region in row["regions"]) == (threshold < 0.9)


def test_a_run_of_other_pictures_is_named(run: Path) -> None:
    path = run / "run.json"
    about = json.loads(path.read_text())
    for damaged in ([], about["good_pictures"][:1], [3, 4], [{"name": "a", "size": [0, 1]}] * 2):
        path.write_text(json.dumps(about | {"good_pictures": damaged}))
        rows = read_rows(run)
        low = [row | {"pred_label": False} for row in rows]
        with pytest.raises(RunFolderError, match=r"good_pictures in .* are damaged"):
            rows_by_threshold(run, low, 0.0)
    path.write_text(json.dumps(about))
    low = [row | {"pred_label": False} for row in read_rows(run)]
    for value in (np.nan, np.inf, -1):
        np.savez(run / low[0]["nearest_good"], nearest_good=np.full((12, 16, 3), value))
        with pytest.raises(RunFolderError, match=r"good_pictures in .* are damaged"):
            rows_by_threshold(run, low, 0.0)
    path.write_text(json.dumps(about | {"good_pictures": "a"}))
    with pytest.raises(RunFolderError, match="good_pictures has a wrong type"):
        read_description(run)


@pytest.mark.parametrize("explain", ["defective", "never"])
def test_words_are_asked_for_where_a_new_threshold_wants_them(
    explain: str, run: Path, tmp_path: Path
) -> None:
    """With `defective`, a good image without words that is defective now is inspected again."""
    settings = replace(SETTINGS, explain=explain).to_json()
    about = json.loads((run / "run.json").read_text()) | {"settings": settings, "threshold": 0.99}
    (run / "run.json").write_text(json.dumps(about))
    rows = [row | {"pred_label": False, "regions": []} for row in read_rows(run)]
    (run / "inspections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    images = [row["image"] for row in rows]
    again = Path(shutil.copytree(run, tmp_path / "again"))
    pictures = {"good_pictures": about["good_pictures"]}
    now = ABOUT | pictures | {"settings": settings, "threshold": 0.5}
    folder = RunFolder(run, now, images=images)
    assert folder.finished == ({images[0], images[2]} if explain == "defective" else {*images})
    # Only what is to be inspected now: the rest of the run stays.
    other = RunFolder(again, now, images=images[:1])
    assert other.finished == {*images}


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_takes_them(to: str, run: Path, tmp_path: Path) -> None:
    if to == "coco":
        pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    exported = export(run, to, tmp_path / "out")
    assert (exported.images, exported.left_out) == (3, ())
    rows = read_rows(run)
    if to == "csv":
        with exported.path.open() as file:
            table = list(csv.DictReader(file))
        assert [one["answer"] for one in table] == ["Yes", "", ""]
        assert [one["contradiction"] for one in table] == ["false", "", ""]
        for one, row in zip(table, rows, strict=True):
            evidence = row["evidence"]
            assert float(one["evidence_reference"]) == evidence["reference"]
            assert one["evidence_words"] == str(evidence.get("words", ""))
    if to == "coco":
        content = json.loads(exported.path.read_text())
        assert [one["explanation"] for one in content["images"]][1:] == ["", ""]
        boxes = [(one["image_id"], one["bbox"]) for one in content["annotations"]]
        assert boxes == [
            (number, region["box"])
            for number, row in enumerate(rows, start=1)
            for region in row["regions"]
        ]
        assert len(boxes) == 2


def test_parquet_takes_them(run: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    rows = read_rows(run)
    table = rows_table(rows).to_pylist()
    assert [one["answer"] for one in table] == ["Yes", None, None]
    assert [one["contradiction"] for one in table] == [False, None, None]
    assert [json.loads(one["row"]) for one in table] == rows


def test_a_bench_counts_only_words_that_were_said(run: Path) -> None:
    """Of three images one was asked about, and its reasoning contradicts its answer."""
    rows = read_rows(run)
    rows[0] |= {"disagreements": ["answer/reasoning"], "contradiction": True}
    (run / "inspections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = tuple(
        Sample(Path(row["image"]), int(row["pred_label"]), "line", "test",
               "bad" if row["pred_label"] else "good", None, reference="A deep dent.")
        for row in rows
    )  # fmt: skip
    values, _ = score_run(DetectorRun("line", "ours", run, samples, run), resamples=5)
    found = {value.metric: value.value for value in values if value.group == "pooled"}
    assert found["contradiction_rate"] == 1
    assert found["rouge_l"] == 1
    assert found["image_auroc"] == 1
    predictions = PredictionsDetector(run).predict([Path(row["image"]) for row in rows])
    assert [getattr(one, "contradiction", "?") for one in predictions] == [True, None, None]
    assert [getattr(one, "explanation", "?") for one in predictions][1:] == [None, None]


def test_the_command_line_says_it(run: Path) -> None:
    lines = [line_of(row) for row in read_rows(run)]
    assert lines[0].endswith("A deep dent.")
    assert lines[1].endswith("1.png  Not asked: the reference calls it defective.")
    assert lines[2].endswith("2.png  Not asked: the reference calls it good.")
    assert flawsight("report", run)[0] == 0
    assert flawsight("export", run, "--to", "csv")[0] == 0


def test_a_run_without_a_reference_has_none_of_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", ABOUT)
    inspection = inspected(reference(), defective=True, asked=True, good=None, image="/a.png")
    row = run.add(inspection, Image.new("RGB", (80, 60), (9, 9, 9)))
    assert "nearest_good" not in row
    assert not (tmp_path / "run/nearest_good").exists()
    assert not (tmp_path / "run/reference").exists()
    assert rows_by_threshold(tmp_path / "run", read_rows(tmp_path / "run"), 0.0) == [
        row | {"region_rule": row["region_rule"]}
    ]
