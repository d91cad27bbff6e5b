"""The report's data: what a page holds, what lies beside it, and what it never lets in."""

import base64
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flawsight.cli import app
from flawsight.report.view import MAP_SIDE, view_of
from flawsight.report.write_report import ONE_FILE_UP_TO, THUMBS, VIEWS, write_report
from flawsight.runs.read import read_rows
from helpers.made_runs import TEXT, TOKENS, make_run, token_maps, token_rows
from helpers.report_pages import Page


def cells(grid: dict) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(grid["data"]), dtype=np.uint8)
    return values.reshape(-1, grid["rows"], grid["cols"])


ROW = {
    "image": "/photos/a.png",
    "image_size": [30, 40],
    "pred_label": True,
    "pred_score": 0.8,
    "answer": "Yes",
    "explanation": TEXT,
    "contradiction": True,
    "disagreements": ["verdict/reasoning", "answer/reasoning"],
    "tokens": token_rows(),
}


def test_a_view_keeps_each_tokens_own_map_on_the_maps_scale() -> None:
    view = view_of(ROW, "a", "a.jpg", np.zeros((30, 40), np.float32), token_maps(), label=True)
    maps = cells(view["token_maps"])
    assert maps.shape == (len(TOKENS), 6, 8)
    for one, token, (_, cell, _) in zip(maps, view["tokens"], TOKENS, strict=True):
        assert np.unravel_index(one.argmax(), one.shape) == cell
        density = 30 / ((30 + 47) / 48)
        assert one.max() == round(255 * density / (density + 4))
        assert token["peak"] == pytest.approx(density, abs=0.01)
    assert view["disagreements"] == ROW["disagreements"]
    assert view["warning"].endswith("but the verdict is defective and the model answered Yes.")
    assert view["label"]
    assert json.loads(json.dumps(view)) is not None


def test_a_detector_that_only_flags_contradicts_its_verdict() -> None:
    row = {name: ROW[name] for name in ("image", "image_size", "contradiction")}
    for label, words in ((False, "good, but the reasoning describes a defect"),
                         (True, "defective, but the reasoning finds nothing wrong")):  # fmt: skip
        view = view_of(row | {"pred_label": label}, "a", None, None, None)
        assert view["disagreements"] == ["verdict/reasoning"]
        assert view["warning"] == f"The verdict is {words}."
    assert view_of(row | {"contradiction": None}, "a", None, None, None)["warning"] == ""


@pytest.mark.parametrize("size", [(1, 1), (30, 40), (2000, 300), (3, 2000)])
def test_a_views_map_is_the_maps_local_mean(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    anomaly_map = rng.random(size, dtype=np.float32)
    grid = cells(view_of(ROW, "a", None, anomaly_map, None)["map"])[0]
    assert max(grid.shape) <= MAP_SIDE
    assert grid.mean() / 255 == pytest.approx(anomaly_map.mean(), abs=0.01)


def test_maps_of_other_programs_are_clipped() -> None:
    odd = np.array([[-3, 0.5], [np.nan, 7]], dtype=np.float32)
    grid = cells(view_of(ROW, "a", None, odd, None)["map"])[0]
    assert grid.tolist() == [[0, 128], [0, 255]]


def test_few_images_make_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    truth = make_run(tmp_path, [0.9, 0.1, 0.7])
    path = write_report(tmp_path, truth)
    page = Page(path)
    assert not (tmp_path / "report").exists()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text())
    assert not any({"src", "href"} & set(attributes) for _, attributes in page.elements)
    items = page.json["run"]["items"]
    assert [item["name"] for item in items] == ["a/0000.png", "b/0001.png", "a/0002.png"]
    assert [item["label"] for item in items] == [True, False, False]
    for item in items:
        assert item["thumb"].startswith("data:image/jpeg;base64,")
        view = page.json[f"view-{item['id']}"]
        assert view["photo"].startswith("data:image/jpeg;base64,")
        assert view["label"] == item["label"]


def test_many_images_lie_beside_the_page(tmp_path: Path) -> None:
    make_run(tmp_path, [0.5] * (ONE_FILE_UP_TO + 1))
    page = Page(write_report(tmp_path))
    assert list(page.json) == ["run"]
    for item in page.json["run"]["items"]:
        with Image.open(tmp_path / item["thumb"]) as thumb:
            assert max(thumb.size) <= 256
        script = (tmp_path / VIEWS / f"{item['id']}.js").read_text()
        view = json.loads(script.removeprefix("flawsight.receive(").removesuffix(");\n"))
        assert view["id"] == item["id"]
        assert (tmp_path / view["photo"]).exists()


def test_a_later_report_makes_only_what_is_missing(tmp_path: Path) -> None:
    make_run(tmp_path, [0.5] * 3)
    write_report(tmp_path, one_file=False)
    files = sorted([*(tmp_path / VIEWS).iterdir(), *(tmp_path / THUMBS).iterdir()])
    before = {path: path.stat().st_mtime_ns for path in files}
    whole = {path: path.read_bytes() for path in files}
    files[0].unlink()
    time.sleep(0.01)
    write_report(tmp_path, one_file=False)
    assert {path: path.read_bytes() for path in files} == whole
    changed = {path.stem for path in files if path.stat().st_mtime_ns != before[path]}
    assert changed == {files[0].stem}


def test_nothing_said_or_named_becomes_markup(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)>\u2028"
    make_run(tmp_path, [0.9])
    (row,) = read_rows(tmp_path)
    rows = [
        row | {"explanation": hostile, "image": f"/tmp/{hostile}.png"},
        {"image": f"b{hostile}", "error": hostile},
        row | {"image": "/tmp/\udcff.png"},
    ]
    (tmp_path / "inspections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    honest = tmp_path / "honest"
    make_run(honest, [0.9, 0.1])
    tags = [tag for tag, _ in Page(write_report(tmp_path)).elements]
    assert tags == [tag for tag, _ in Page(write_report(honest)).elements]
    page = Page(tmp_path / "report.html")
    assert page.json["run"]["items"][0]["explanation"] == hostile
    assert page.json["run"]["items"][1]["error"] == hostile
    write_report(tmp_path, one_file=False)
    for script in (tmp_path / VIEWS).iterdir():
        assert "<" not in script.read_text()
        assert script.read_text().isascii()


def test_runs_without_a_photo_take_the_original_or_else_the_overlay(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run, [0.9])
    (row,) = read_rows(run)
    original = tmp_path / "original.png"
    Image.new("RGB", (900, 450), (10, 200, 10)).save(original)
    Image.new("RGB", (80, 60)).save(run / "overlays/gone.png")
    del row["photo"]
    rows = [
        row | {"image": str(original)},
        row | {"image": "/gone.png", "overlay": "overlays/gone.png"},
        row | {"image": "/gone-too.png"},
        {"image": "/other.png", "pred_score": None, "pred_label": True},  # another program's
    ]
    (run / "inspections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    views = [v for k, v in Page(write_report(run)).json.items() if k.startswith("view-")]
    assert [view["photo_has_map"] for view in views] == [False, True, False, False]
    assert [view["photo"] is None for view in views] == [False, False, True, True]
    (kept,) = (run / "photos").glob("original-*.jpg")
    with Image.open(kept) as photo:
        assert photo.size == (768, 384)
    assert views[3]["tokens"] == []
    assert views[3]["map"] is None


def test_the_verb_takes_labels_from_a_data_set_or_from_the_bench(tmp_path: Path) -> None:
    run = tmp_path / "bench/line/model"
    truth = make_run(run, [0.9, 0.1, 0.7])
    samples = [
        {"image": image, "label": int(label), "category": "line", "split": "test",
         "class_name": "bad" if label else "good", "mask": None, "polygons": [], "reference": None}
        for image, label in truth.items()
    ]  # fmt: skip
    lines = [{"dataset": "line", "root": "/line"}, *samples]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run.parent / "truth.jsonl").write_text(text)
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0, result.output
    items = Page(run / "report.html").json["run"]["items"]
    assert {item["path"]: item["label"] for item in items} == truth

    photos = tmp_path / "photos"
    for kind in ("good", "bad"):
        (photos / kind).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(photos / kind / "1.png")
    (row,) = read_rows(run)[:1]
    alone = tmp_path / "alone"
    make_run(alone, [0.9])
    rows = [row | {"image": str(photos / kind / "1.png")} for kind in ("good", "bad")]
    (alone / "inspections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for data, labels in [([], [None, None]), (["--data", str(photos)], [False, True])]:
        result = CliRunner().invoke(app, ["report", str(alone), *data])
        assert result.exit_code == 0, result.output
        items = Page(alone / "report.html").json["run"]["items"]
        assert [item["label"] for item in items] == labels


def test_a_data_set_of_other_images_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [0.9])
    for kind in ("good", "bad"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / kind / "1.png")
    arguments = ["report", str(tmp_path / "run"), "--data", f"line={tmp_path}"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "none of the images" in result.output


@pytest.mark.parametrize("one_file", [True, False])
def test_a_map_may_be_deleted_and_a_damaged_one_is_named(one_file: bool, tmp_path: Path) -> None:
    make_run(tmp_path, [0.9])
    (row,) = read_rows(tmp_path)
    (tmp_path / row["token_maps"]).write_bytes(b"PK\x03\x04 torn")
    page = write_report(tmp_path, one_file=one_file).read_text()
    assert f"Cannot read the token maps {row['token_maps']}" in page
    for name in ("anomaly_map", "token_maps"):
        (tmp_path / row[name]).unlink()
    write_report(tmp_path, one_file=one_file)
    write_report(tmp_path, one_file=one_file)


def test_a_run_of_version_0_1_is_shown_under_todays_names(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "fixtures/version-0.1/run"
    run = Path(shutil.copytree(old, tmp_path / "run"))
    page = Page(write_report(run))
    views = [view for name, view in page.json.items() if name.startswith("view-")]
    assert len(views) == len(read_rows(run)) == 2
    assert all(view["photo"] and view["map"] and view["token_maps"] for view in views)
    assert all("selected" in token for view in views for token in view["tokens"])
    assert any(region["phrases"] for view in views for region in view["regions"])
