"""MMAD's questions are read as they are published, and damage is named."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flawsight.data.mmad_questions import dataset_of, read_mmad, shows_good_part
from flawsight.errors import DatasetError
from helpers.mmad import KEYS, YES_NO, entry, question, write_mmad


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mmad(tmp_path / "MMAD")


def test_questions_come_with_their_images_and_letters(root: Path) -> None:
    mmad = read_mmad(root)
    assert [image.key for image in mmad.images] == KEYS
    first = mmad.images[0]
    assert first.image == root / KEYS[0]
    assert [one.sub_task for one in first.questions] == [
        "Anomaly Detection",
        "Defect Localization",
        "Object Analysis",
    ]
    assert first.questions[0].text == "Is there a defect?"
    assert first.questions[0].options == YES_NO
    assert [one.answer for one in first.questions] == ["A", "D", "C"]
    assert mmad.sha256 == hashlib.sha256((root / "mmad.json").read_bytes()).hexdigest()


def test_templates_are_the_first_of_the_named_list(root: Path) -> None:
    names = {
        kind: [path.name for path in read_mmad(root, 1, kind).images[0].templates]
        for kind in ("random", "similar")
    }
    assert names == {"random": ["0.png"], "similar": ["1.png"]}
    assert read_mmad(root, 0).images[0].templates == ()
    assert read_mmad(root, 0).templates is None
    both = read_mmad(root, 2).images[2].templates
    assert both == tuple(root / f"VisA/candle/train/good/{index}.png" for index in (0, 1))


def test_other_letters_go_by_position(tmp_path: Path) -> None:
    asked = [question("Defect Analysis", "y", {"x": "one", "y": "two"})]
    mmad = read_mmad(write_mmad(tmp_path, {KEYS[0]: entry(KEYS[0], conversation=asked)}))
    [found] = mmad.images[0].questions
    assert (found.options, found.answer) == ({"A": "one", "B": "two"}, "B")


def test_the_file_or_a_name_below_the_data_root_will_do(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_mmad(root / "mmad.json").root == root
    assert read_mmad("MMAD", data_root=root.parent).root == root
    monkeypatch.setenv("FLAWSIGHT_DATA", str(root.parent))
    assert read_mmad("MMAD").root == root


def test_data_sets_that_are_not_there_are_named_and_left_out(root: Path) -> None:
    shutil.rmtree(root / "VisA")
    (root / KEYS[1]).unlink()  # one missing image is no missing data set
    mmad = read_mmad(root)
    assert mmad.absent == ("VisA",)
    assert [image.key for image in mmad.images] == KEYS[:2]


def test_a_limit_counts_per_product_and_class(tmp_path: Path) -> None:
    keys = [f"VisA/candle/test/{kind}/{index}.png" for kind in ("bad", "good") for index in "0123"]
    mmad = read_mmad(write_mmad(tmp_path, {key: entry(key) for key in keys}))
    assert [image.key for image in mmad.limited(2).images] == [keys[0], keys[2], keys[4], keys[6]]
    assert mmad.limited(9) == mmad


def test_data_sets_and_good_parts_are_told_by_the_path() -> None:
    assert [dataset_of(key) for key in KEYS] == ["MVTec-AD", "MVTec-AD", "VisA", "VisA"]
    assert [shows_good_part(key) for key in KEYS] == [False, True, False, True]
    assert not shows_good_part("GoodsAD/goods/test/opened/good.jpg")


def damaged(root: Path, **changes: Any) -> None:
    (root / "mmad.json").write_text(json.dumps({KEYS[0]: entry(KEYS[0], **changes)}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"random_templates": []}, r"0 random_templates, not 1"),
        ({"random_templates": ["../../secret.png"]}, "leads out of the folder"),
        ({"conversation": [question("Anomaly Detection", "C", YES_NO)]}, "'C' is none of"),
        ({"conversation": [question("Mood", "A", YES_NO)]}, "question type 'Mood'"),
        ({"conversation": [question("Defect Analysis", "A", {"A": "1"})]}, "1 options, not 2"),
        ({"conversation": [question("Defect Analysis", "A", {"A": "1", "B": 2})]}, "no text"),  # type: ignore[dict-item]
        ({"conversation": [{"Question": "What?"}]}, "lacks 'Options'"),
        ({"conversation": "Hello"}, "entry"),
        ({"conversation": []}, "holds no questions"),
    ],
)
def test_damage_is_named_with_its_entry(root: Path, changes: Any, words: str) -> None:
    damaged(root, **changes)
    with pytest.raises(DatasetError, match=words):
        read_mmad(root)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "Cannot read"), ("[]", "no object"), ('{"a/b.png": 3}', "entry 'a/b.png'"),
     ("[" * 100_000, "Cannot read")],
)  # fmt: skip
def test_a_file_that_is_something_else_is_refused(root: Path, content: str, words: str) -> None:
    (root / "mmad.json").write_text(content)
    with pytest.raises(DatasetError, match=words):
        read_mmad(root)


def test_a_folder_without_questions_or_images_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no mmad\.json"):
        read_mmad(tmp_path)
    write_mmad(tmp_path)
    for name in ("VisA", "DS-MVTec"):
        shutil.rmtree(tmp_path / name)
    with pytest.raises(DatasetError, match="None of the images"):
        read_mmad(tmp_path)
