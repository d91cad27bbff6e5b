"""What is wrong from the start is said before a model is loaded."""

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flawsight.calibration import NormalScores, calibrate
from flawsight.settings import PRESETS
from helpers.command_line import flawsight
from helpers.made_runs import make_run


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("A model is loaded.")

    monkeypatch.setattr("flawsight.inspector.load_mllm", refuse)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setattr("flawsight.mllm.load.load_mllm", refuse)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for kind in ("good", "bad"):
        (tmp_path / "line" / kind).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (40, 40)).save(tmp_path / "line" / kind / f"{index}.png")
    scores = NormalScores({"nut": (0.1, 0.2)}, 0, {"sha256": "a"}, PRESETS["paper"].to_json())
    calibrate(scores, 0.5).save(tmp_path / "paper.json")
    (tmp_path / "damaged.json").write_text("{")
    (tmp_path / "others").mkdir()
    (tmp_path / "others/notes.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    return tmp_path / "line"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("calibrate {p} --false-alarm-rate 0.01", "at least 99 normal images; 4 allow 0.2 or more"),
        ("calibrate {p} --false-alarm-rate 0.3 --by-category", "bad: A false alarm rate"),
        ("calibrate {p} --false-alarm-rate 5", "must be between 0 and 1"),
        ("calibrate {p} --false-alarm-rate 0.5 --out {t}/others", "it is a folder"),
        ("calibrate {p} --false-alarm-rate 0.5 --out {t}/file/c.json", "takes no files"),
        ("inspect {p} --out {t}/others", "holds files but no run"),
        ("inspect {p} --out {t}/file", "is a file"),
        ("inspect {p} --out {t}/file/run", "takes no files"),
        ("inspect {p} --out {t}/o --threshold 7", "threshold is 7"),
        ("inspect {p} --out {t}/o --calibration {t}/damaged.json", "no readable calibration"),
        ("inspect {p} --out {t}/o --calibration {t}/none.json", "no readable calibration"),
        ("inspect {p} --out {t}/o --calibration {t}/paper.json", "other settings"),
        (
            "inspect {p} --out {t}/o --preset paper --calibration {t}/paper.json --category x",
            "no threshold for the category x",
        ),
        ("inspect {p} --out {t}/o --prior {t}/none.npz", "no attention prior"),
        ("prior {p} --out {t}/others", "it is a folder"),
        ("bench --data {p} --out {t}/file", "takes no files"),
        ("bench --data {p} --out {t}/o --detector flawsight --detector run:{t}/no", "{t}/no"),
        ("bench --data {p} --out {t}/o --detector flawsight,tau=3", "Unknown settings: tau"),
        ("bench --data {p} --out {t}/o --detector flawsight --detector vlm", "lacks its model"),
        ("inspect {p} --out {t}/o --reference {t}/none.reference", "There is no reference"),
        ("inspect {p} --out {t}/o --reference {t}/damaged.json", "is no readable reference"),
        ("inspect {p} --out {t}/o --explain never", "needs a reference of good photos"),
        ("inspect {p} --out {t}/o --false-alarm-rate 0.1", "needs a reference of good photos"),
        ("calibrate {p} --false-alarm-rate 0.5 --reference {t}/no", "There is no reference {t}/no"),
        ("learn", "Name photos of good parts"),
        ("learn {p} --out {t}/others", "it is a folder"),
        ("learn {p} --add-to {t}/none.reference", "There is no reference"),
        ("learn {t}/a.reference {t}/b.reference", "Give one reference"),
        ("learn {t}/others --out {t}/o", "holds no image"),
        ("bench --data {p} --out {t}/o --detector flawsight:reference=4", "train/good of line"),
        ("bench --data {p} --out {t}/o --detector flawsight:reference=0", "reference is 0"),
        (
            "bench --data {p} --out {t}/o --detector flawsight:reference={t}/no",
            "no reference {t}/no",
        ),
        ("bench --data {p} --out {t}/o --learning-curve 1,none", "1,2,4,8,16,all; not 'none'"),
        ("bench --data {p} --out {t}/o --learning-curve all", "has no good photos in train/good"),
        (
            "bench --data {p} --out {t}/o --learning-curve all --detector texture",
            "'texture' has no learning curve",
        ),
        ("bench --data {p} --out {t}/o --sbert any", "needs sentence-transformers"),
    ],
)
def test_it_is_said_before_a_model_is_loaded(
    arguments: str, words: str, photos: Path, tmp_path: Path
) -> None:
    filled = [word.format(p=photos, t=tmp_path) for word in arguments.split()]
    code, output = flawsight(*filled)
    assert code == 2, output
    assert words.format(t=tmp_path) in " ".join(output.split())
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("to", ["labelstudio", "fiftyone", "anomalib", "masks"])
def test_a_folder_is_not_exported_over_a_file(to: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", [0.2, 0.7])
    (tmp_path / "file").write_text("mine")
    code, output = flawsight("export", tmp_path / "run", "--to", to, "--out", tmp_path / "file")
    assert (code, "exists; remove it" in " ".join(output.split())) == (2, True)
    assert (tmp_path / "file").read_text() == "mine"
