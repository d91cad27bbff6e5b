"""A photo replaced under its name: no reader puts the old verdict on the new photo."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flawsight.errors import DetectorError
from flawsight.evaluate.detectors.predictions import PredictionsDetector
from flawsight.export.write_export import export
from flawsight.inspection import Trace
from flawsight.inspector import Inspector
from flawsight.io.file_stamp import FileStamp
from flawsight.io.files import slug
from flawsight.report.write_report import write_report
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from helpers.bundled import FEW_OPTIONS, FEW_PAPER
from helpers.command_line import flawsight

ABOUT = {"model": {"name": "m"}}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "cam"
    folder.mkdir()
    paths = [folder / f"{name}.png" for name in ("kept", "latest", "old")]
    for index, path in enumerate(paths):
        noise(index).save(path)
    return paths


@pytest.fixture
def run(tmp_path: Path, photos: list[Path]) -> Path:
    """The last row has no stamp, as in version 0.1."""
    folder = RunFolder(tmp_path / "run", ABOUT)
    for index, path in enumerate(photos):
        row = {
            "image": str(path), "image_size": [6, 8], "pred_label": index == 1, "pred_score": 0.5,
        }  # fmt: skip
        if path.stem != "old":
            row["file"] = FileStamp.of_file(path).to_json()
        folder.add_row(row, {"anomaly_map": np.zeros((6, 8), dtype=np.float32)})
    return tmp_path / "run"


def replace(photo: Path) -> None:
    noise(9).save(photo)


def noise(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(pixels)


def test_a_replaced_photo_is_to_be_inspected_again(run: Path, photos: list[Path]) -> None:
    os.utime(photos[0], (5, 5))
    for photo in photos[1:]:
        replace(photo)
    assert RunFolder(run, ABOUT).replaced == []  # asks for none
    folder = RunFolder(run, ABOUT, images=photos)
    assert folder.replaced == [str(photos[1])]
    assert folder.finished == {str(photos[0]), str(photos[2])}
    assert read_rows(run)[0]["file"] == FileStamp.of_file(photos[0]).to_json()
    photos[0].unlink()
    assert RunFolder(run, ABOUT, images=photos).replaced == []


@pytest.mark.parametrize("to", ["csv", "coco", "labelstudio", "fiftyone", "anomalib", "masks"])
def test_an_export_leaves_a_replaced_photo_out(run: Path, photos: list[Path], to: str) -> None:
    replace(photos[1])
    exported = export(run, to)
    assert exported.images == 2
    ((image, reason),) = exported.left_out
    assert image == str(photos[1])
    assert "replaced" in reason


def test_a_report_does_not_show_the_new_photo(run: Path, photos: list[Path]) -> None:
    replace(photos[1])
    write_report(run)
    names = [f"{slug(str(photo))}.jpg" for photo in photos]
    assert [(run / "photos" / name).exists() for name in names] == [True, False, True]


def test_predictions_of_other_bytes_are_refused(run: Path, photos: list[Path]) -> None:
    replace(photos[1])
    one, other, _ = PredictionsDetector(run).predict(photos)
    assert not isinstance(one, Exception)
    assert isinstance(other, DetectorError)
    assert "replaced" in str(other)


def test_a_trace_is_of_the_bytes(tmp_path: Path, photos: list[Path]) -> None:
    from flawsight.runs.trace_store import TraceFolder

    inspector = Inspector.from_pretrained(device="cpu", settings=FEW_PAPER)
    store = TraceFolder(tmp_path / "traces", inspector.mllm, inspector.settings, None)
    inspector = Inspector(inspector.mllm, inspector.settings, trace_store=store)
    image = str(photos[1])
    (trace,) = inspector.trace(inspector.prepare([image])).traces
    assert isinstance(trace, Trace)
    assert store.load(image, FileStamp.of_file(image)) is not None
    replace(photos[1])
    assert store.load(image, FileStamp.of_file(image)) is None


def test_inspect_says_that_it_inspected_a_replaced_photo_again(
    tmp_path: Path, photos: list[Path]
) -> None:
    out = tmp_path / "out"
    assert flawsight("inspect", *photos[:2], "--out", out, *FEW_OPTIONS)[0] == 0
    before = read_rows(out)
    replace(photos[1])
    code, output = flawsight("inspect", *photos[:2], "--out", out, *FEW_OPTIONS)
    assert code == 0
    assert "1 were done before" in output
    assert "1 photo had been replaced since: latest.png; inspected again." in output
    after = {row["image"]: row for row in read_rows(out)}
    assert len(after) == len(read_rows(out)) == 2
    assert after[str(photos[0])] == before[0]
    assert after[str(photos[1])]["file"] == FileStamp.of_file(photos[1]).to_json()
    assert json.dumps(after[str(photos[1])]["file"]) != json.dumps(before[1]["file"])
