"""Another threshold for a finished run: to the bit what a new run with it has."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flawsight.calibration import Calibration, calibrate
from flawsight.errors import RunFolderError
from flawsight.export.write_export import export
from flawsight.inspector import Inspector
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.normal_scores import read_normal_scores
from flawsight.runs.read import read_rows
from flawsight.runs.relabel import rows_by_threshold
from flawsight.settings import PRESETS
from helpers.command_line import flawsight
from helpers.made_runs import make_run

SAMPLES = Path(__file__).parents[2] / "samples"
PHOTOS = [SAMPLES / f"{name}.jpg" for name in ("carton-good", "cracker-crack", "milled-face-good")]


@pytest.fixture(scope="module")
def mllm() -> MLLM:
    return load_mllm(device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for photo in PHOTOS:
        with Image.open(photo) as image:
            image.resize((150, 110)).save(folder / f"{photo.stem}.png")
    return sorted(folder.iterdir())


def opened(mllm: MLLM, preset: str, **options: Any) -> Inspector:
    quick = {"image_grid": None, "image_tokens": 49, "attention_prior": False}
    settings = replace(PRESETS[preset], **quick, max_new_tokens=60)
    settings = replace(settings, **options.pop("changes", {}))
    return Inspector(mllm, settings, batch_size=2, **options)


def run_of(folder: Path, inspector: Inspector, photos: list[Path]) -> Path:
    inspect_into(RunFolder(folder, describe(inspector)), inspector, photos)
    return folder


def untimed(rows: list[dict]) -> list[dict]:
    return [row | {"seconds": 0} for row in rows]


def overlays(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "overlays").iterdir()}


@pytest.fixture(scope="module", params=["default", "paper"])
def preset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def run(
    mllm: MLLM, preset: str, photos: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return run_of(tmp_path_factory.mktemp("run") / "r", opened(mllm, preset), photos)


def some_calibration(run: Path) -> Calibration:
    return calibrate(read_normal_scores(run), 0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"calibrated": True},
        {"changes": {"region_threshold": 0.22, "region_peak": 0.25, "regions_of_good": True}},
    ],
    ids=str,
)
def test_a_relabelled_run_equals_a_new_one(
    options: dict, mllm: MLLM, preset: str, run: Path, photos: list[Path], tmp_path: Path
) -> None:
    options = dict(options)
    if options.pop("calibrated", False):
        options["calibration"] = some_calibration(run)
    inspector = opened(mllm, preset, **options)
    fresh = run_of(tmp_path / "fresh", inspector, photos)
    again = Path(shutil.copytree(run, tmp_path / "again"))
    folder = RunFolder(again, describe(inspector))
    assert untimed(read_rows(again)) == untimed(read_rows(fresh))
    assert folder.finished == {str(photo) for photo in photos}
    assert overlays(again) == overlays(fresh)
    kept = {"created", "versions"}
    old, new = (json.loads((one / "run.json").read_text()) for one in (again, fresh))
    assert old | dict.fromkeys(kept) == new | dict.fromkeys(kept)
    # Back to what it was: without a threshold the verdict is that of the run's settings.
    RunFolder(again, describe(opened(mllm, preset)))
    assert read_rows(again) == read_rows(run)
    if "threshold" in options:
        tried = rows_by_threshold(run, read_rows(run), options["threshold"])
        assert untimed(tried) == untimed(read_rows(fresh))


def test_regions_follow_the_verdict(run: Path) -> None:
    for threshold, defective in ((0.0, True), (1.0, False)):
        for row in rows_by_threshold(run, read_rows(run), threshold):
            assert row["pred_label"] is defective
            assert bool(row["regions"]) is defective
            assert ("verdict/answer" in row["disagreements"]) == (
                (row["answer"] == "Yes") is not defective
            )


def test_a_calibration_leaves_a_defective_image_its_peak(
    mllm: MLLM, preset: str, run: Path, tmp_path: Path
) -> None:
    """The calibrated map threshold lies above every map, and the score's below every score."""
    calibration = replace(
        some_calibration(run), thresholds={"all": 0.0}, region_thresholds={"all": 1.0}
    )
    again = Path(shutil.copytree(run, tmp_path / "again"))
    RunFolder(again, describe(opened(mllm, preset, calibration=calibration)))
    for row in read_rows(again):
        (region,) = row["regions"]
        assert region["score"] == round(row["map_peak"], 6)


def test_other_settings_are_still_refused(mllm: MLLM, preset: str, run: Path) -> None:
    before = read_rows(run)
    for changes in ({"tau_t": 0.5}, {"score_crops": preset == "paper"}, {"max_new_tokens": 61}):
        with pytest.raises(RunFolderError, match="choose another --out"):
            RunFolder(run, describe(opened(mllm, preset, threshold=0.9, changes=changes)))
    assert read_rows(run) == before


def test_deleted_arrays_are_named_and_cost_nothing(
    mllm: MLLM, preset: str, run: Path, tmp_path: Path
) -> None:
    again = Path(shutil.copytree(run, tmp_path / "again"))
    shutil.rmtree(again / "token_maps")
    before = (again / "inspections.jsonl").read_bytes(), (again / "run.json").read_bytes()
    # To call all good needs no array.
    assert not any(r["regions"] for r in rows_by_threshold(again, read_rows(again), 1.0))
    inspector = opened(mllm, preset, changes={"region_threshold": 0.1, "regions_of_good": True})
    with pytest.raises(RunFolderError, match=r"token maps .* was deleted"):
        RunFolder(again, describe(inspector))
    after = (again / "inspections.jsonl").read_bytes(), (again / "run.json").read_bytes()
    assert after == before


def test_export_and_report_by_another_threshold_leave_the_run_alone(
    run: Path, tmp_path: Path
) -> None:
    again = Path(shutil.copytree(run, tmp_path / "again"))
    before = (again / "inspections.jsonl").read_bytes(), (again / "run.json").read_bytes()
    for threshold, word in ((0, "true"), (1, "false")):
        out = tmp_path / f"{threshold}.csv"
        arguments = ("export", again, "--to", "csv", "--out", out, "--threshold", threshold)
        assert flawsight(*arguments)[0] == 0
        table = out.read_text().splitlines()
        assert all(f",{word}," in line for line in table if line.startswith("/"))
    for layout in ("--one-file", "--folder"):
        for threshold in (0, 1, 0):
            code, _ = flawsight("report", again, layout, "--threshold", threshold)
            assert code == 0
            page = (again / "report.html").read_text()
            assert f'"threshold": {threshold}' in page
            assert f'"pred_label": {"false" if threshold else "true"}' in page
            for script in again.glob("report/views-*/*.js") if layout == "--folder" else ():
                assert f'"pred_label": {"false" if threshold else "true"}' in script.read_text()
    assert ((again / "inspections.jsonl").read_bytes(), (again / "run.json").read_bytes()) == before
    code, output = flawsight("report", again, "--threshold", "60")
    assert (code, "threshold is 60" in output) == (2, True)


def test_another_program_without_scores_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path, [0.2, 0.7])
    assert [r["pred_label"] for r in rows_by_threshold(tmp_path, read_rows(tmp_path), 0.1)] == [
        True,
        True,
    ]
    with pytest.raises(RunFolderError, match="no score"):
        rows_by_threshold(tmp_path, [{"image": "a.png", "pred_label": True}], 0.1)


@pytest.mark.parametrize("to", ["csv", "coco", "labelstudio", "fiftyone", "anomalib", "masks"])
def test_an_export_holds_only_the_verdict_asked_for(to: str, photos: list[Path], tmp_path: Path):
    if to == "coco":
        pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    folder = RunFolder(tmp_path / "run", {"model": {"name": "made up"}, "threshold": 0.5})
    for photo, score in zip(photos, (0.2, 0.7, 0.9), strict=True):
        row = {"image": str(photo), "pred_score": score, "pred_label": score > 0.5,
               "image_size": [110, 150], "explanation": "A dent."}  # fmt: skip
        folder.add_row(row, {"anomaly_map": np.full((110, 150), 0.4, np.float32)})
    for only, count in ((True, 2), (False, 1), (None, 3)):
        out = export(tmp_path / "run", to, tmp_path / f"{only}", only=only)
        assert (out.images, out.left_out) == (count, ())
    none = export(tmp_path / "run", to, tmp_path / "none", only=True, threshold=0.95)
    assert none.images == 0
    if to == "coco":
        content = json.loads((tmp_path / "None").read_text())
        assert {one["image_id"] for one in content["annotations"]} == {2, 3}
