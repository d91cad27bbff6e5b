"""Photos with names of any bytes, on a console of any encoding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from flawsight.runs.read import read_rows
from helpers.bundled import FEW_OPTIONS
from helpers.command_line import flawsight

NAMES = [
    b"a\xff\xe9b.png",
    "零件_01.png".encode(),
    b"x" * 251 + b".png",
    b"aux.png",
    b"[red]\n.png",
]


def test_photos_of_any_name_are_inspected_reported_and_exported(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = {os.fsdecode(name) for name in NAMES}
    for name in names:
        Image.radial_gradient("L").resize((40, 30)).save(folder / name)
    run = tmp_path / "run"
    code, output = flawsight("inspect", folder, "--out", run, *FEW_OPTIONS)
    assert code == 0, output
    assert "零件_01.png" in output
    assert {Path(row["image"]).name for row in read_rows(run)} == names
    for to in ("csv", "coco", "labelstudio", "fiftyone", "anomalib", "masks"):
        code, output = flawsight("export", run, "--to", to)
        assert (code, "5 images" in output) == (0, True), output
    masks = {path.name for path in (run / "export/masks").iterdir()}
    assert len(masks) == 5
    assert {f"{os.fsdecode(NAMES[0])}.png", f"{os.fsdecode(NAMES[1])}.png"} <= masks
    coco = json.loads((run / "export/coco.json").read_text())
    assert {image["file_name"] for image in coco["images"]} == names


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_without_a_character_prints_its_escape(encoding: str) -> None:
    script = "from flawsight.cli import main, shell; main(); shell.say('\u96f6\u4ef6')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, check=True,
    )  # fmt: skip
    shown = done.stdout.decode(encoding).strip()
    assert shown == ("零件" if encoding == "utf-8" else "\\u96f6\\u4ef6")
