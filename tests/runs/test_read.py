"""Reading runs: rows in every form, arrays, truth, and what version 0.1 wrote."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawsight.calibration import Calibration, calibrate
from flawsight.errors import (
    ArrayDeletedError,
    CalibrationError,
    ExportError,
    RunFolderError,
)
from flawsight.export.write_export import FORMATS, export
from flawsight.inspection import Region
from flawsight.inspector import Inspector
from flawsight.report.write_report import write_report
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.normal_scores import read_normal_scores
from flawsight.runs.parquet import StorageFolder, read_parquet_rows, rows_table
from flawsight.runs.read import (
    read_array,
    read_description,
    read_rows,
    read_truth,
)
from flawsight.runs.row_check import upgraded_row
from flawsight.settings import PRESETS

OLD = Path(__file__).parents[1] / "fixtures/version-0.1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two results and a failure."""
    folder = RunFolder(tmp_path / "run", {"model": {"name": "m"}})
    for name in "ab":
        row = {"image": f"/photos/{name}.png", "pred_score": 0.5}
        maps = {"anomaly_map": np.full((3, 4), 0.25, np.float32)}
        folder.add_row(row, maps | {"token_maps": np.ones((2, 5, 6), np.float32)})
    folder.add_error("/photos/c.png", ExportError("broken"))
    return folder.folder


# --- Rows


def test_of_an_image_with_several_rows_the_last_counts(run: Path) -> None:
    before = read_rows(run)
    folder = RunFolder(run, {"model": {"name": "m"}})
    again = folder.add_row({"image": "/photos/a.png", "pred_score": 0.75}, {})
    failed = folder.add_error("/photos/b.png", ExportError("gone"))
    assert read_rows(run) == [again, failed]  # the failure before is dropped, to be tried again
    folder._lock.release()
    assert RunFolder(run, {"model": {"name": "m"}}).finished == {"/photos/a.png"}
    assert before[0]["pred_score"] == 0.5


def test_damaged_rows_are_returned_as_errors(run: Path) -> None:
    whole = read_rows(run)
    path = run / "inspections.jsonl"
    with path.open("a") as file:
        file.write('{"image": "torn')
    assert read_rows(run) == whole
    *rows, torn = read_rows(run, damaged_as_errors=True)
    assert rows == whole
    assert torn == {"image": "inspections.jsonl, line 4", "error": "This row is damaged."}
    other = whole[0] | {"image": "/photos/d.png"}
    with path.open("ab") as file:
        file.write(b'\n[1]\n{"image": ""}\n\xff\n' + json.dumps(other).encode())
    rows = read_rows(run)
    assert [row.get("error") == "This row is damaged." for row in rows] == [
        *[False] * 3, *[True] * 4, False,
    ]  # fmt: skip


def test_rows_of_all_processes_are_read(run: Path) -> None:
    whole = read_rows(run)
    (run / "inspections.rank-1.jsonl").write_text('{"image": "/photos/d.png", "error": ""}\n')
    assert read_rows(run) == [*whole, {"image": "/photos/d.png", "error": ""}]


def test_rows_in_parquet_are_the_same_rows(run: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    whole = read_rows(run)
    (run / "rows").mkdir()
    retried = {"image": whole[1]["image"], "error": "ModelError: out of memory"}
    parquet.write_table(rows_table([retried, whole[0]]), run / "rows/0.parquet")
    parquet.write_table(rows_table(whole[1:]), run / "rows/1.parquet")
    (run / "rows/torn.parquet").write_bytes(b"PAR1 and no end")
    (run / "inspections.jsonl").unlink()
    assert read_rows(run) == read_rows(run, damaged_as_errors=True) == whole
    fields = parquet.read_table(run / "rows/0.parquet").to_pylist()
    assert [(one["image"], one["pred_score"], one["error"]) for one in fields] == [
        (whole[1]["image"], None, retried["error"]),
        (whole[0]["image"], 0.5, None),
    ]
    assert list(read_parquet_rows(StorageFolder(str(run)), repair=True)) == whole
    assert not (run / "rows/torn.parquet").exists()


def test_a_storage_folder_reads_what_it_wrote(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    folder = StorageFolder((tmp_path / "run").as_uri())
    assert folder.read("maps/a.npz") is None
    assert folder.files() == []
    folder.write("maps/a.npz", b"content")
    assert folder.read("maps/a.npz") == b"content"
    assert folder.files("maps") == [folder.join("maps/a.npz")]
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="Cannot write"):
        StorageFolder(str(tmp_path / "file")).write("run.json", b"")


# --- Arrays and truth


def damage(path: Path, how: str) -> None:
    if how == "torn":
        path.write_bytes(path.read_bytes()[:50])
    elif how == "other name":
        np.savez(path, other=np.zeros((3, 4)))
    else:
        np.savez(path, anomaly_map=np.zeros(12), token_maps=np.zeros(12))


@pytest.mark.parametrize("name", ["anomaly_map", "token_maps"])
@pytest.mark.parametrize("how", ["torn", "other name", "other shape"])
def test_a_deleted_array_is_told_from_a_damaged_one(name: str, how: str, run: Path) -> None:
    row = read_rows(run)[0]
    array = read_array(run, row, name)
    assert array.dtype == np.float32
    assert array.shape == ((3, 4) if name == "anomaly_map" else (2, 5, 6))
    damage(run / row[name], how)
    with pytest.raises(RunFolderError, match=f"Cannot read .* {row[name]}") as damaged:
        read_array(run, row, name)
    assert not isinstance(damaged.value, ArrayDeletedError)
    (run / row[name]).unlink()
    with pytest.raises(ArrayDeletedError, match=f"{row[name]} of .* was deleted"):
        read_array(run, row, name)


@pytest.mark.parametrize("text", ["", "[]\n", '{"dataset": "x"}\n', "{torn"])
def test_a_damaged_truth_is_refused(text: str, tmp_path: Path) -> None:
    assert read_truth(tmp_path) is None
    (tmp_path / "truth.jsonl").write_text(text)
    with pytest.raises(RunFolderError, match=r"truth\.jsonl is damaged"):
        read_truth(tmp_path)


# --- Version 0.1


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "run", tmp_path / "old"))


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector.from_pretrained(device="cpu", settings=PRESETS["default"])


def old_rows() -> list[dict[str, Any]]:
    lines = (OLD / "run/inspections.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_rows_of_version_0_1_have_todays_names(old_run: Path) -> None:
    regions = 0
    for row, old in zip(read_rows(old_run), old_rows(), strict=True):
        for token, before in zip(row["tokens"], old["tokens"], strict=True):
            assert token == {k: v for k, v in before.items() if k != "kept"} | {
                "selected": before["kept"]
            }
        for one, before in zip(row["regions"], old["regions"], strict=True):
            region = Region.from_json(one, tuple(row["image_size"]))
            assert region.phrases == before["words"]
            assert "words" not in one
            regions += 1
        assert row["disagreements"] == []
        unchanged = row.keys() - {"tokens", "regions", "disagreements"}
        assert {name: row[name] for name in unchanged} == {name: old[name] for name in unchanged}
        assert read_array(old_run, row, "anomaly_map").shape == tuple(row["image_size"])
        assert len(read_array(old_run, row, "token_maps")) == len(row["tokens"])
    assert regions > 0


def test_rows_of_version_0_1_are_compared_with_their_verdict(old_run: Path) -> None:
    lines = [json.dumps(row | {"pred_label": not row["pred_label"]}) for row in old_rows()]
    (old_run / "inspections.jsonl").write_text("\n".join(lines))
    for row in read_rows(old_run):
        assert row["disagreements"] == ["verdict/answer", "verdict/reasoning"]
        assert row["contradiction"] is True


@pytest.mark.parametrize("answer", [None, "<answer>Yes</answer>"])
def test_rows_of_other_detectors_keep_their_flag(answer: str | None) -> None:
    row = {"image": "a.png", "pred_label": True, "contradiction": True, "answer": answer}
    assert upgraded_row(dict(row)) == row


def test_a_run_of_version_0_1_is_resumed_and_written_by_todays_names(
    old_run: Path, inspector: Inspector
) -> None:
    rows = read_rows(old_run)
    folder = RunFolder(old_run, describe(inspector))
    assert folder.finished == {row["image"] for row in rows}
    written = (old_run / "inspections.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == rows
    with pytest.raises(RunFolderError, match="attention_prior True"):
        RunFolder(old_run, describe(Inspector(inspector.mllm, PRESETS["paper"])))
    about = json.loads(json.dumps(describe(inspector)))
    about["model"]["sha256"] = "0" * 64
    with pytest.raises(RunFolderError, match=r"model\.sha256 .*of its weights alone; choose"):
        RunFolder(old_run, about)


@pytest.mark.parametrize("one_file", [True, False])
def test_a_run_of_version_0_1_has_a_report(one_file: bool, old_run: Path) -> None:
    page = write_report(old_run, one_file=one_file).read_text()
    for row in old_rows():
        assert row["image"] in page


@pytest.mark.parametrize("to", ["csv", "coco", "labelstudio", "masks"])
def test_a_run_of_version_0_1_is_exported(to: str, old_run: Path) -> None:
    if to == "coco":
        pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    exported = export(old_run, to)
    assert (exported.images, exported.left_out) == (2, ())
    assert exported.path.name == FORMATS[to].name
    if to == "coco":
        annotations = json.loads(exported.path.read_text())["annotations"]
        expected = [region["words"] for row in old_rows() for region in row["regions"]]
        assert [one["phrases"] for one in annotations] == expected


def test_a_calibration_of_version_0_1_holds_for_the_same_model(inspector: Inspector) -> None:
    calibration = Calibration.load(OLD / "calibration.json")
    assert calibration.threshold() == max(row["pred_score"] for row in old_rows())
    about = describe(inspector)
    assert about["prior_sha256"] is not None
    sha256, settings, prior = about["model"]["sha256"], about["settings"], about["prior_sha256"]
    calibration.check(sha256, settings, prior)
    with pytest.raises(CalibrationError, match="tau_t"):
        calibration.check(sha256, settings | {"tau_t": 0.5}, prior)
    with pytest.raises(CalibrationError, match=r"another model.*weights alone; calibrate"):
        calibration.check("0" * 64, settings, prior)


def test_a_run_of_version_0_1_is_calibrated(old_run: Path, inspector: Inspector) -> None:
    scores = read_normal_scores(old_run)
    calibration = calibrate(scores, 0.5)
    old = Calibration.load(OLD / "calibration.json")
    assert calibration.thresholds == old.thresholds
    assert calibration.region_thresholds == old.region_thresholds
    assert read_description(old_run)["format"] == 1
    about = describe(inspector)
    calibration.check(about["model"]["sha256"], about["settings"], about["prior_sha256"])


def test_a_run_of_ray_is_not_resumed_here(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunFolderError, match="--engine ray"):
        RunFolder(tmp_path, {})


def test_a_report_of_nothing_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no readable run\.json"):
        write_report(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(RunFolderError, match=r"no readable run\.json"):
        write_report(tmp_path)
