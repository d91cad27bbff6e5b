"""The run folder: complete rows, resuming, and what a disk or a user can do to it."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import flawsight.runs.folder as module
from flawsight.errors import FlawsightError, ImageError, RunFolderError
from flawsight.inspector import Inspector
from flawsight.io.overlay import MAX_SIDE, draw_overlay
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from flawsight.settings import Settings
from flawsight_surfaces import render_pair
from helpers.bundled import FEW


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector.from_pretrained(device="cpu", settings=FEW, batch_size=3)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(3)
    paths = []
    for size in [(96, 96), (64, 150), (200, 80)]:
        for sample in render_pair(rng, size):
            paths.append(tmp_path / "photos" / f"{len(paths)}.png")
            paths[-1].parent.mkdir(exist_ok=True)
            Image.fromarray(sample.image).save(paths[-1])
    return paths


def untimed(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_row_has_its_files_and_says_what_the_inspection_says(
    inspector: Inspector, photos: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    inspect_into(RunFolder(run, describe(inspector)), inspector, photos)
    rows = read_rows(run)
    assert [row["image"] for row in rows] == [str(path) for path in photos]
    for row, path in zip(rows, photos, strict=True):
        inspection = inspector(path)
        with Image.open(path) as image:
            assert row["image_size"] == [image.height, image.width]
        with np.load(run / row["anomaly_map"]) as arrays:
            assert arrays.files == ["anomaly_map"]
            saved = arrays["anomaly_map"]
        assert saved.shape == tuple(row["image_size"])
        assert saved.min() >= 0
        assert saved.max() <= 1
        np.testing.assert_allclose(saved, inspection.anomaly_map, atol=1e-3)
        with np.load(run / row["token_maps"]) as arrays:
            assert len(arrays["token_maps"]) == len(row["tokens"])
        assert row["pred_label"] is inspection.pred_label
        assert row["pred_score"] == pytest.approx(inspection.pred_score, abs=1e-4)
        assert row["explanation"] == inspection.explanation
        for token in row["tokens"]:
            assert row["explanation"][token["start"] : token["end"]] == token["text"].strip()[
                : token["end"] - token["start"]
            ] or token["text"].startswith(" ")
        with Image.open(run / row["overlay"]) as overlay:
            assert (overlay.height, overlay.width) == tuple(row["image_size"])
        with Image.open(run / row["photo"]) as photo:
            assert (photo.height, photo.width) == tuple(row["image_size"])


def test_a_stopped_run_goes_on_to_the_same_rows(
    inspector: Inspector, photos: list[Path], tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    inspect_into(RunFolder(whole, describe(inspector)), inspector, photos)
    inspect_into(RunFolder(parts, describe(inspector)), inspector, photos[:2])
    with (parts / "inspections.jsonl").open("a") as file:
        file.write('{"image": "torn')
    before = untimed(read_rows(parts))
    inspected: list[dict] = []
    inspect_into(RunFolder(parts, describe(inspector)), inspector, photos, inspected.append)
    after = untimed(read_rows(parts))
    assert after[:2] == before
    assert len(inspected) == 4
    for one, other in zip(after, untimed(read_rows(whole)), strict=True):
        assert one["image"] == other["image"]
        assert one["explanation"] == other["explanation"]
        assert one["pred_score"] == pytest.approx(other["pred_score"], abs=1e-4)
        assert (parts / one["photo"]).read_bytes() == (whole / other["photo"]).read_bytes()


def test_a_broken_image_is_one_row_and_tried_again(
    inspector: Inspector, photos: list[Path], tmp_path: Path
) -> None:
    sound = photos[1].read_bytes()
    photos[1].write_bytes(sound[:100])
    run = tmp_path / "run"
    inspect_into(RunFolder(run, describe(inspector)), inspector, photos)
    rows = read_rows(run)
    assert [index for index, row in enumerate(rows) if "error" in row] == [1]
    assert photos[1].name in rows[1]["error"]
    photos[1].write_bytes(sound)
    inspect_into(RunFolder(run, describe(inspector)), inspector, photos)
    rows = read_rows(run)
    assert not any("error" in row for row in rows)
    assert sorted(row["image"] for row in rows) == sorted(str(path) for path in photos)


@pytest.mark.parametrize("change", [{"tau_t": 0.9}, {"seed": 1}, {"selection": "vanilla"}])
def test_other_settings_are_refused_and_change_nothing(
    change: dict, inspector: Inspector, photos: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    inspect_into(RunFolder(run, describe(inspector)), inspector, photos[:1])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    other = Settings.from_json(FEW.to_json() | change)
    with pytest.raises(RunFolderError, match=next(iter(change))):
        RunFolder(run, describe(Inspector(inspector.mllm, other)))
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_setting_that_a_run_is_too_old_to_know_counts_as_its_default(
    inspector: Inspector, tmp_path: Path
) -> None:
    about = describe(inspector)
    RunFolder(tmp_path / "run", about)
    description = json.loads((tmp_path / "run/run.json").read_text())
    del description["settings"]["seed"]
    (tmp_path / "run/run.json").write_text(json.dumps(description))
    RunFolder(tmp_path / "run", about)
    now = replace(inspector.settings, seed=2)
    with pytest.raises(RunFolderError, match="seed 0"):
        RunFolder(tmp_path / "run", describe(Inspector(inspector.mllm, now)))


def test_another_model_is_refused(
    inspector: Inspector, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    RunFolder(tmp_path / "run", describe(inspector))
    other = Inspector.from_pretrained(tiny_checkpoint, device="cpu")
    with pytest.raises(RunFolderError, match="another model"):
        RunFolder(tmp_path / "run", describe(other))


def test_a_folder_of_other_files_is_refused(inspector: Inspector, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear …")
    with pytest.raises(RunFolderError, match="holds files but no run"):
        RunFolder(tmp_path, describe(inspector))


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_is_explained_and_costs_no_finished_image(
    call: str,
    inspector: Inspector,
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    folder = RunFolder(run, describe(inspector))
    inspect_into(folder, inspector, photos[:2])
    before = untimed(read_rows(run))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(module.os, call, full)
        with pytest.raises(RunFolderError, match="No space left on device"):
            inspect_into(folder, inspector, photos)
    assert untimed(read_rows(run))[:2] == before
    assert not list(run.rglob(".*"))
    inspect_into(RunFolder(run, describe(inspector)), inspector, photos)
    assert len({row["image"] for row in read_rows(run)}) == len(photos)


@pytest.mark.parametrize("leave", ["nothing", "an empty folder"])
def test_a_share_that_is_lost_stops_the_run_and_keeps_what_is_done(
    leave: str, inspector: Inspector, photos: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    inspect_into(RunFolder(run, describe(inspector)), inspector, photos[:1])
    shutil.rmtree(photos[0].parent)
    if leave == "an empty folder":
        photos[0].parent.mkdir()
    with pytest.raises(ImageError, match=r"photos is gone or empty.*same command"):
        inspect_into(RunFolder(run, describe(inspector)), inspector, photos)
    assert [row["image"] for row in read_rows(run)] == [str(photos[0])]


def test_overlays_use_one_scale_and_leave_the_ordinary_bare() -> None:
    photo = Image.new("RGB", (1600, 400), (120, 130, 140))
    level = np.full((400, 1600), 0.1, dtype=np.float32)
    assert np.unique(np.asarray(draw_overlay(photo, level)).reshape(-1, 3), axis=0).tolist() == [
        [120, 130, 140]
    ]
    level[:, 800:] = 0.6
    half = np.asarray(draw_overlay(photo, level))
    level[:, :800] = 0.6
    whole = np.asarray(draw_overlay(photo, level))
    assert half.shape == (MAX_SIDE // 4, MAX_SIDE, 3)
    np.testing.assert_array_equal(half[:, -100:], whole[:, -100:])


def test_every_error_is_of_one_family() -> None:
    from flawsight import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, FlawsightError) for kind in kinds)
