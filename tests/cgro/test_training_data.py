"""What a user may name as training data, and in what order it is drawn."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawsight.cgro.training_data import LabelledImage, Order, check_readable, read_training_data
from flawsight.errors import DatasetError
from helpers.training import make_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "line", normal=10, defective=4, side=16)


def test_a_share_of_each_class_is_kept_for_validation(photos: Path) -> None:
    data = read_training_data([str(photos)], [], 0.25, 100, 0)
    assert data.balance() == {
        "train": {"normal": 8, "defective": 3},
        "validation": {"normal": 2, "defective": 1},
    }
    assert not {i.path for i in data.train} & {i.path for i in data.validation}
    assert data == read_training_data([str(photos)], [], 0.25, 100, 0)
    assert data != read_training_data([str(photos)], [], 0.25, 100, 1)
    assert all(image.label == (image.path.parent.name == "bad") for image in data.train)


def test_validation_is_limited_evenly(photos: Path) -> None:
    data = read_training_data([str(photos)], [], 0.5, 4, 0)
    assert data.balance()["validation"] == {"normal": 2, "defective": 2}
    assert data.balance()["train"] == {"normal": 5, "defective": 2}


def test_marked_splits_are_kept_apart(photos: Path, tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for index in range(4):
        split = ["train", "train", "validation", "test"][index]
        rows += [f"line/good/{index}.png,good,{split}", f"line/bad/{index}.png,bad,{split}"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    data = read_training_data([str(tmp_path / "list.csv")], [], 0.5, 100, 0)
    assert [image.path.name for image in data.validation] == ["2.png", "2.png"]
    assert {image.path.name for image in data.train} == {"0.png", "1.png"}


@pytest.mark.parametrize("kind", ["jsonl", "meta", "mvtec"])
def test_other_forms(photos: Path, tmp_path: Path, kind: str) -> None:
    paths = [f"line/{name}/{index}.png" for name in ("good", "bad") for index in range(4)]
    if kind == "jsonl":
        lines = [json.dumps({"image": p, "label": int("bad" in p)}) for p in paths]
        (tmp_path / "list.jsonl").write_text("\n".join(lines))
        spec = tmp_path / "list.jsonl"
    elif kind == "meta":
        rows = [{"img_path": p, "anomaly": int("bad" in p)} for p in paths]
        (tmp_path / "meta.json").write_text(json.dumps({"train": {"bolt": rows}}))
        spec = tmp_path / "meta.json"
    else:
        for name, to in (("good", "good"), ("bad", "crack")):
            shutil.copytree(photos / name, tmp_path / "bolt/train" / to)
        spec = tmp_path / "bolt"
    data = read_training_data([str(spec)], [], 0.25, 100, 0)
    assert {image.label for image in data.train} == {True, False}


def test_named_validation_images_are_all_taken(photos: Path, tmp_path: Path) -> None:
    other = make_photos(tmp_path / "other", 3, 2, side=16)
    data = read_training_data([str(photos)], [str(other)], 0.5, 100, 0)
    assert data.balance()["train"] == {"normal": 10, "defective": 4}
    assert data.balance()["validation"] == {"normal": 3, "defective": 2}


def test_one_class_or_an_empty_one_is_refused(photos: Path, tmp_path: Path) -> None:
    for image in (photos / "bad").iterdir():
        image.unlink()
    with pytest.raises(DatasetError, match="10 normal images and no defective one"):
        read_training_data([str(photos)], [], 0.25, 100, 0)
    (tmp_path / "one.csv").write_text("path,label\nline/good/0.png,good\n")
    with pytest.raises(DatasetError, match="no defective one"):
        read_training_data([str(tmp_path / "one.csv")], [], 0.25, 100, 0)
    shutil.rmtree(photos / "bad")
    with pytest.raises(DatasetError, match="good/ and bad/"):
        read_training_data([str(photos)], [], 0.25, 100, 0)


def test_too_few_images_to_part(photos: Path, tmp_path: Path) -> None:
    rows = "path,label\nline/good/0.png,0\nline/good/1.png,0\nline/bad/0.png,1\n"
    (tmp_path / "few.csv").write_text(rows)
    with pytest.raises(DatasetError, match="No defective images are left for validation"):
        read_training_data([str(tmp_path / "few.csv")], [], 0.25, 100, 0)


def test_a_mistyped_label_is_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\nline/good/0.png,godo\n")
    with pytest.raises(DatasetError, match="row 2 has the label 'godo'"):
        read_training_data([str(tmp_path / "list.csv")], [], 0.25, 100, 0)


def test_a_contradictory_list_is_refused(photos: Path, tmp_path: Path) -> None:
    rows = "path,label\nline/good/0.png,0\nline/good/0.png,1\n"
    (tmp_path / "list.csv").write_text(rows)
    with pytest.raises(DatasetError, match="both as normal and as defective"):
        read_training_data([str(tmp_path / "list.csv")], [], 0.25, 100, 0)


def test_unreadable_images_are_all_listed(photos: Path) -> None:
    (photos / "good/0.png").write_bytes(b"no image")
    whole = (photos / "bad/1.png").read_bytes()
    (photos / "bad/1.png").write_bytes(whole[: len(whole) // 2])
    data = read_training_data([str(photos)], [], 0.25, 100, 0)
    seen: list[None] = []
    with pytest.raises(DatasetError, match="2 of 14 images cannot be read") as found:
        check_readable([*data.train, *data.validation], lambda: seen.append(None))
    assert "good/0.png" in str(found.value)
    assert "bad/1.png" in str(found.value)
    assert len(seen) == 14


@given(
    normal=st.integers(1, 7),
    defective=st.integers(1, 7),
    share=st.none() | st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_every_image_has_its_turn(
    normal: int, defective: int, share: float | None, seed: int
) -> None:
    images = [LabelledImage(Path(f"n{i}"), False) for i in range(normal)]
    images += [LabelledImage(Path(f"d{i}"), True) for i in range(defective)]
    order = Order(images, share, seed)
    drawn = [order[draw] for draw in range(120)]
    wanted = defective / len(images) if share is None else share
    for count in (1, 7, 120):
        assert abs(sum(image.label for image in drawn[:count]) - count * wanted) < 1
    for label, size in ((False, normal), (True, defective)):
        own = [image for image in drawn if image.label == label]
        for start in range(0, len(own) - size + 1, size):
            assert len(set(own[start : start + size])) == size
        assert max(Counter(own).values(), default=0) <= -(-len(own) // size)
    again = Order(images, share, seed)
    assert [again[draw] for draw in reversed(range(120))] == drawn[::-1]
