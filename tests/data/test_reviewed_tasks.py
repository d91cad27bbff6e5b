"""What a reviewer corrects in Label Studio or in a CSV comes back as labels and masks."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image

from flawsight.cgro.training_data import read_training_data
from flawsight.data.brush_rle import decode_rle, encode_rle
from flawsight.data.masks import read_gt_mask
from flawsight.data.open import open_datasets
from flawsight.errors import DatasetError, ExportError
from flawsight.export.write_export import export
from flawsight.runs.folder import RunFolder
from helpers.command_line import flawsight

SIZE = (12, 20)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of four photos, of which the first two are called defective, and a failure."""
    folder = RunFolder(tmp_path / "run", {"model": {"name": "m"}})
    for number in range(4):
        photo = tmp_path / f"photos/é {number}.png"
        photo.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(photo)
        anomaly_map = np.zeros(SIZE, np.float32)
        anomaly_map[2:6, 3:9] = 0.75
        row = {"image": str(photo), "image_size": SIZE, "pred_label": number < 2,
               "pred_score": 0.9, "explanation": "A dent."}  # fmt: skip
        folder.add_row(row, {"anomaly_map": anomaly_map})
    folder.add_error(str(tmp_path / "photos/broken.png"), ExportError("no image"))
    return folder.folder


def reviewed(run: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """Return the tasks of a run as Label Studio exports them after no review at all."""
    tasks: list[dict[str, Any]] = json.loads(
        (export(run, "labelstudio", tmp_path / "out").path / "tasks.json").read_text()
    )
    return [task | {"id": number, "annotations": []} for number, task in enumerate(tasks)]


def annotation(*results: dict[str, Any], at: str = "2026-11-30T10:00:00Z") -> dict[str, Any]:
    return {"result": list(results), "was_cancelled": False, "updated_at": at}


def verdict(word: str) -> dict[str, Any]:
    return {"type": "choices", "from_name": "verdict", "value": {"choices": [word]}}


def brush(mask: np.ndarray[Any, Any]) -> dict[str, Any]:
    value = {"format": "rle", "rle": encode_rle(mask), "brushlabels": ["defect"]}
    return {"type": "brushlabels", "value": value, "original_width": mask.shape[1],
            "original_height": mask.shape[0]}  # fmt: skip


def test_reviews_in_label_studio_become_labels_and_masks(run: Path, tmp_path: Path) -> None:
    tasks = reviewed(run, tmp_path)
    drawn = np.random.default_rng(5).random(SIZE) < 0.4
    more = np.zeros(SIZE, bool)
    more[0, :3] = True
    (predicted,) = tasks[0]["predictions"]
    tasks[0]["annotations"] = [annotation(*predicted["result"])]  # taken as they are
    tasks[1]["annotations"] = [  # a later review wins, a skipped one does not count
        annotation(verdict("good"), *predicted["result"][1:], at="2026-11-30T12:00:00Z"),
        annotation(verdict("defective")),
        annotation(verdict("defective"), at="2026-11-30T13:00:00Z") | {"was_cancelled": True},
    ]
    tasks[2]["annotations"] = [annotation(brush(drawn), brush(more))]  # no verdict, but brushes
    path = tmp_path / "project.json"
    path.write_text(json.dumps(tasks))
    (dataset,) = open_datasets(str(path))
    found = {sample.image.name: sample for sample in dataset.samples}
    labels = {name: sample.label for name, sample in found.items()}
    assert labels == {"é 0.png": 1, "é 1.png": 0, "é 2.png": 1}
    expected = np.zeros(SIZE, bool)
    expected[2:6, 3:9] = True
    np.testing.assert_array_equal(read_gt_mask(found["é 0.png"], SIZE), expected)
    np.testing.assert_array_equal(read_gt_mask(found["é 2.png"], SIZE), drawn | more)
    assert not read_gt_mask(found["é 1.png"], SIZE).any()
    assert [(file.path.name, file.reason) for file in dataset.unused] == [
        ("é 3.png", "not reviewed")
    ]
    for name in ("good", "bad"):
        shutil.copytree(tmp_path / "photos", tmp_path / "others" / name)
    data = read_training_data([str(path)], [str(tmp_path / "others")], 0.5, 9, 0)
    assert {image.path.name: image.label for image in data.train} == {
        name: bool(label) for name, label in labels.items()
    }


def test_photos_are_found_below_the_root_of_label_studio(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task, *_) = reviewed(run, tmp_path)
    del task["data"]["photo"]
    task["annotations"] = [annotation(verdict("defective"))]
    path = tmp_path / "elsewhere/project.json"
    path.parent.mkdir()
    path.write_text(json.dumps([task]))
    with pytest.raises(DatasetError, match="names missing files"):
        open_datasets(str(path))
    monkeypatch.setenv("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", str(tmp_path))
    (dataset,) = open_datasets(str(path))
    assert dataset.samples[0].image == tmp_path / "photos/é 0.png"


def test_a_table_that_a_reviewer_fills_in_is_a_data_set(run: Path, tmp_path: Path) -> None:
    path = export(run, "csv", tmp_path / "today.csv").path
    with pytest.raises(DatasetError, match="column label"):
        open_datasets(str(path))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, label in zip(rows, ("good", "defective", "0", "", ""), strict=True):
        row["label"] = label
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet saves it
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (dataset,) = open_datasets(str(path))
    assert {s.image.name: s.label for s in dataset.samples} == {
        "é 0.png": 0, "é 1.png": 1, "é 2.png": 0,
    }  # fmt: skip
    assert {file.path.name for file in dataset.unused} == {"é 3.png", "broken.png"}
    code, output = flawsight("data", "check", path)
    assert "Other files: 2 (not reviewed)" in output
    assert code == 0


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
def test_a_brush_is_read_as_it_was_written(mask: np.ndarray[Any, Any]) -> None:
    height, width = mask.shape
    np.testing.assert_array_equal(decode_rle(encode_rle(mask), (height, width)), mask)


def test_a_brush_of_single_values_is_read() -> None:
    """Label Studio writes what does not repeat value by value."""
    pixels = [10, 20, 30, 255, 0, 0, 0, 0, 1, 2, 3, 4]
    head = f"{12:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    runs = f"000{3:03b}" + "".join(f"{value:08b}" for value in pixels[:4])
    runs += f"100{3:03b}{0:08b}"
    runs += f"001{3:04b}" + "".join(f"{value:08b}" for value in pixels[8:])
    bits = head + runs
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    np.testing.assert_array_equal(decode_rle(rle, (1, 3)), [[True, False, True]])
    with pytest.raises(ValueError, match="12 values"):
        decode_rle(rle, (2, 3))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[{}]", "no list of tasks"),
        ("[3]", "no list of tasks"),
        ("[", "no list of tasks"),
        ("[]", "No task"),
        ('[{"data": {"image": "a.png"}, "annotations": [{"result": [{"type": "brushlabels", '
         '"original_width": 2, "original_height": 2, "value": {"rle": [0, 0]}}]}]}]',
         "no list of tasks"),
    ],
)  # fmt: skip
def test_a_damaged_export_is_explained(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "project.json"
    path.write_text(content)
    code, output = flawsight("data", "check", path)
    assert code == 2
    assert words in output
