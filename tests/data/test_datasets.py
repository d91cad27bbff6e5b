"""Labelled data sets: small trees of the true layouts, every sample of which is compared."""

import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flawsight.data.catalog import BENCHMARKS, find_benchmark
from flawsight.data.dataset import Dataset
from flawsight.data.layouts import MaskFinder
from flawsight.data.masks import read_gt_mask
from flawsight.data.open import open_datasets
from flawsight.errors import DatasetError


def write(path: Path, value: int = 0) -> Path:
    """Write a 6×4 image that is black but for one pixel of that value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1, 2] = value
    Image.fromarray(pixels).save(path)
    return path


def write_all(root: Path, *names: str) -> None:
    for name in names:
        write(root / name, 255)


def rows(dataset: Dataset) -> list[tuple[str, int, str, str, str, str | None]]:
    """Return the samples with paths relative to the root, in their order."""
    return [
        (
            s.image.relative_to(dataset.root).as_posix(),
            s.label,
            s.category,
            s.split,
            s.class_name,
            None if s.mask is None else s.mask.relative_to(dataset.root).as_posix(),
        )
        for s in dataset.samples
    ]


def open_one(spec: str | Path, data_root: Path | None = None) -> Dataset:
    (dataset,) = open_datasets(str(spec), data_root)
    return dataset


def write_mvtec(root: Path) -> None:
    write_all(
        root,
        "bottle/train/good/000.png",
        "bottle/test/good/000.png",
        "bottle/test/broken_large/000.png",
        "bottle/test/broken_large/001.png",
        "bottle/ground_truth/broken_large/000_mask.png",
        "bottle/ground_truth/broken_large/001_mask.png",
        "bottle/license.png",
        "grid/test/bent/000.png",
        "grid/ground_truth/bent/000_mask.png",
    )


BROKEN = "bottle/test/broken_large/"
MVTEC_ROWS = [
    (f"{BROKEN}000.png", 1, "bottle", "test", "broken_large",
     "bottle/ground_truth/broken_large/000_mask.png"),
    (f"{BROKEN}001.png", 1, "bottle", "test", "broken_large",
     "bottle/ground_truth/broken_large/001_mask.png"),
    ("bottle/test/good/000.png", 0, "bottle", "test", "good", None),
    ("bottle/train/good/000.png", 0, "bottle", "train", "good", None),
    ("grid/test/bent/000.png", 1, "grid", "test", "bent", "grid/ground_truth/bent/000_mask.png"),
]  # fmt: skip


def test_mvtec(tmp_path: Path) -> None:
    root = tmp_path / "mvtec_anomaly_detection"
    write_mvtec(root)
    dataset = open_one("mvtec-ad", tmp_path)
    assert dataset.name == "MVTec-AD"
    assert rows(dataset) == MVTEC_ROWS
    assert rows(open_one(root)) == MVTEC_ROWS
    assert open_one(f"mine={root}").name == "mine"
    single = open_one(root / "grid")
    assert rows(single) == [("test/bent/000.png", 1, "grid", "test", "bent",
                             "ground_truth/bent/000_mask.png")]  # fmt: skip


def test_data_root_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mvtec(tmp_path / "MVTec-AD")
    monkeypatch.setenv("FLAWSIGHT_DATA", str(tmp_path))
    assert rows(open_one("MVTec-AD")) == MVTEC_ROWS


@pytest.mark.parametrize("name", ["KolektorSDD-cropped", "DTD-Synthetic", "WFDD", "GoodsAD"])
def test_mvtec_like(name: str, tmp_path: Path) -> None:
    """The image may be .jpg and the mask a .png of the same stem."""
    benchmark = find_benchmark(name)
    assert benchmark is not None
    write_all(
        tmp_path / benchmark.folders[-1],
        "part/train/good/000001.jpg",
        "part/test/good/000002.jpg",
        "part/test/opened/000003.jpg",
        "part/test/deformation/000004.jpg",
        "part/ground_truth/opened/000003.png",
        "part/ground_truth/deformation/000004.png",
    )
    assert rows(open_one(name, tmp_path)) == [
        ("part/test/deformation/000004.jpg", 1, "part", "test", "deformation",
         "part/ground_truth/deformation/000004.png"),
        ("part/test/good/000002.jpg", 0, "part", "test", "good", None),
        ("part/test/opened/000003.jpg", 1, "part", "test", "opened",
         "part/ground_truth/opened/000003.png"),
        ("part/train/good/000001.jpg", 0, "part", "train", "good", None),
    ]  # fmt: skip


def test_images_beside_depth(tmp_path: Path) -> None:
    """As in MVTec 3D-AD: a class has folders rgb, xyz and gt; a normal image has an empty mask."""
    write_all(
        tmp_path / "PD-REAL",
        "cookie/train/good/rgb/000.png",
        "cookie/train/good/xyz/000.tiff",
        "cookie/test/good/rgb/000.png",
        "cookie/test/good/gt/000.png",
        "cookie/test/dent/rgb/000.png",
        "cookie/test/dent/gt/000.png",
        "cookie/test/dent/xyz/000.tiff",
    )
    assert rows(open_one("PR-REAL", tmp_path)) == [
        (
            "cookie/test/dent/rgb/000.png",
            1,
            "cookie",
            "test",
            "dent",
            "cookie/test/dent/gt/000.png",
        ),
        ("cookie/test/good/rgb/000.png", 0, "cookie", "test", "good", None),
        ("cookie/train/good/rgb/000.png", 0, "cookie", "train", "good", None),
    ]


def write_visa(root: Path) -> None:
    images = "candle/Data/Images"
    write_all(root, f"{images}/Normal/0000.JPG", f"{images}/Normal/0001.JPG")
    write_all(root, f"{images}/Anomaly/000.JPG")
    write(root / "candle/Data/Masks/Anomaly/000.png", 3)
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text(
        "object,split,label,image,mask\n"
        f"candle,train,normal,{images}/Normal/0000.JPG,\n"
        f"candle,test,normal,{images}/Normal/0001.JPG,\n"
        f"candle,test,anomaly,{images}/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n"
    )


def test_visa(tmp_path: Path) -> None:
    write_visa(tmp_path / "VisA_20220922")
    dataset = open_one("VisA", tmp_path)
    assert rows(dataset) == [
        ("candle/Data/Images/Anomaly/000.JPG", 1, "candle", "test", "bad",
         "candle/Data/Masks/Anomaly/000.png"),
        ("candle/Data/Images/Normal/0001.JPG", 0, "candle", "test", "good", None),
        ("candle/Data/Images/Normal/0000.JPG", 0, "candle", "train", "good", None),
    ]  # fmt: skip
    assert read_gt_mask(dataset.samples[0]).sum() == 1
    assert rows(open_one(tmp_path / "VisA_20220922")) == rows(dataset)
    (tmp_path / "VisA_20220922/candle/Data/Images/Normal/0001.JPG").unlink()
    with pytest.raises(DatasetError, match=r"1 in all: .*0001\.JPG"):
        open_datasets("VisA", tmp_path)
    (tmp_path / "VisA_20220922/split_csv/1cls.csv").unlink()
    with pytest.raises(DatasetError, match=r"split_csv/1cls\.csv"):
        open_datasets("VisA", tmp_path)


def test_kolektor(tmp_path: Path) -> None:
    root = tmp_path / "KolektorSDD"
    for name, value in (("kos01/Part0", 0), ("kos01/Part5", 255), ("kos02/Part0", 1)):
        write(root / f"{name}.jpg", 90)
        write(root / f"{name}_label.bmp", value)
    dataset = open_one("KolektorSDD", tmp_path)
    assert rows(dataset) == [
        ("kos01/Part5.jpg", 1, "commutator", "test", "defect", "kos01/Part5_label.bmp"),
        ("kos02/Part0.jpg", 1, "commutator", "test", "defect", "kos02/Part0_label.bmp"),
        ("kos01/Part0.jpg", 0, "commutator", "test", "good", None),
    ]
    assert rows(open_one(root)) == rows(dataset)
    (root / "kos01/Part0_label.bmp").unlink()
    with pytest.raises(DatasetError, match=r"Part0_label\.bmp"):
        open_datasets(str(root))


def test_vision(tmp_path: Path) -> None:
    root = tmp_path / "VISION-Datasets"
    square = [1, 1, 3, 1, 3, 2, 1, 2]
    run_lengths = {"counts": [21, 2, 1], "size": [4, 6]}
    coco = {
        "images": [{"id": i, "file_name": f"{i:06d}.jpg"} for i in range(4)],
        "categories": [{"id": 7, "name": "thunderbolt"}, {"id": 8, "name": "break"}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "segmentation": [square]},
            {"image_id": 2, "category_id": 8, "segmentation": [square]},
            {"image_id": 2, "category_id": 7, "segmentation": run_lengths},
            {"image_id": 3, "category_id": 7, "segmentation": [square]},
            {"image_id": 3, "category_id": 7, "segmentation": [], "bbox": [1, 1, 2, 1]},
        ],
    }
    for split in ("train", "val"):
        write_all(root, *(f"Cable/{split}/{i:06d}.jpg" for i in range(4)))
        (root / f"Cable/{split}/_annotations.coco.json").write_text(json.dumps(coco))
    write_all(root, "Cable/inference/000000.jpg")
    dataset = open_one("vision", tmp_path)
    assert rows(dataset) == [
        (f"Cable/{folder}/{index:06d}.jpg", int(index > 0), "Cable", split, kind, None)
        for split, folder in (("train", "train"), ("validation", "val"))
        for kind, index in (
            ("break+thunderbolt", 2), ("good", 0), ("thunderbolt", 1), ("thunderbolt", 3),
        )
    ]  # fmt: skip
    both, _, outlined, boxed = dataset.split("train").samples
    assert not boxed.pixel_labelled
    expected = np.zeros((4, 6), bool)
    expected[1:2, 1:3] = True
    np.testing.assert_array_equal(read_gt_mask(outlined, (4, 6)), expected)
    expected[1:3, 5] = True
    np.testing.assert_array_equal(read_gt_mask(both, (4, 6)), expected)
    (root / "Cable/val/_annotations.coco.json").write_text('{"images": []}')
    with pytest.raises(DatasetError, match="COCO"):
        open_datasets(str(root))


@pytest.mark.parametrize(
    ("normal", "defective"), [("good", "bad"), ("OK", "NG"), ("normal", "defective")]
)
def test_good_bad(normal: str, defective: str, tmp_path: Path) -> None:
    write_all(tmp_path / "bolt", f"{normal}/a.png", f"{defective}/b.png", "ground_truth/b.png")
    assert rows(open_one(tmp_path / "bolt")) == [
        (f"{defective}/b.png", 1, "bolt", "test", defective, "ground_truth/b.png"),
        (f"{normal}/a.png", 0, "bolt", "test", "good", None),
    ]


def test_meta(tmp_path: Path) -> None:
    write_all(tmp_path, "hat/a.png", "hat/b.png", "hat/b_gt.png")
    entry = {"cls_name": "hat", "mask_path": "", "specie_name": "good", "anomaly": 0}
    meta = {
        "train": {"hat": []},
        "test": {
            "hat": [
                entry | {"img_path": "hat/a.png"},
                {"img_path": "hat/b.png", "mask_path": "hat/b_gt.png", "cls_name": "hat",
                 "specie_name": "hole", "anomaly": 1},
            ]
        },
    }  # fmt: skip
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    expected = [
        ("hat/a.png", 0, "hat", "test", "good", None),
        ("hat/b.png", 1, "hat", "test", "hole", "hat/b_gt.png"),
    ]
    assert rows(open_one(tmp_path / "meta.json")) == expected
    assert rows(open_one(f"PR-REAL={tmp_path}")) == expected
    (tmp_path / "meta.json").write_text("[]")
    with pytest.raises(DatasetError, match="must be like"):
        open_datasets(str(tmp_path / "meta.json"))


def test_lists(tmp_path: Path) -> None:
    write_all(tmp_path, "a.png", "b.png", "b_mask.png")
    first = {"path": "a.png", "label": 0, "dataset": "one", "category": "nut", "split": "train"}
    second = {"path": "b.png", "label": 1, "dataset": "two", "mask": "b_mask.png",
              "category": "nut", "cls": "dent", "split": "test",
              "reference": "A dent\u2028here."}  # fmt: skip
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(second))
        writer.writeheader()
        writer.writerows([first, second])
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in (first, second)]
    (tmp_path / "list.jsonl").write_text("".join(lines), encoding="utf-8")
    for name in ("list.csv", "list.jsonl"):
        one, two = open_datasets(str(tmp_path / name))
        assert (one.name, two.name) == ("one", "two")
        assert rows(one) == [("a.png", 0, "nut", "train", "good", None)]
        assert rows(two) == [("b.png", 1, "nut", "test", "dent", "b_mask.png")]
        assert two.samples[0].reference == "A dent\u2028here."
    # A list called samples.jsonl speaks for its folder.
    (tmp_path / "list.jsonl").rename(tmp_path / "samples.jsonl")
    assert len(open_datasets(str(tmp_path))) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"path": "a.png"}, "row 1 must say image"),
        ({"path": "a.png", "label": "perhaps"}, "'perhaps'"),
        ({"path": "a.png", "label": 1, "split": "dev"}, "'dev'"),
        ({"path": "gone.png", "label": 1}, "gone.png"),
        ({"path": "a.png", "label": 1, "mask": "gone_mask.png"}, "gone_mask.png"),
    ],
)
def test_errors_of_lists(row: dict[str, object], message: str, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (tmp_path / "list.jsonl").write_text(json.dumps(row))
    with pytest.raises(DatasetError, match=message):
        open_datasets(str(tmp_path / "list.jsonl"))


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLAWSIGHT_DATA", raising=False)
    for spec, message in (
        ("nowhere", "give a path that exists"),
        ("VisA", "FLAWSIGHT_DATA"),
        ("=x", "NAME=PATH"),
        (f"x={tmp_path / 'gone'}", "nothing at"),
    ):
        with pytest.raises(DatasetError, match=message):
            open_datasets(spec)
    write(tmp_path / "photos/a.png")
    with pytest.raises(DatasetError, match=r"Found: a\.png"):
        open_datasets(str(tmp_path / "photos"))
    with pytest.raises(DatasetError, match=r"no folder VisA.*photos/"):
        open_datasets("VisA", tmp_path)
    with pytest.raises(DatasetError, match="no list"):
        open_datasets(str(tmp_path / "photos/a.png"))
    (tmp_path / "set/bolt/test/good").mkdir(parents=True)
    with pytest.raises(DatasetError, match="category bolt is empty"):
        open_datasets(str(tmp_path / "set"))


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    """A missing mask is None and shifts no other; two candidates are an error."""
    write_mvtec(tmp_path)
    (tmp_path / "bottle/ground_truth/broken_large/000_mask.png").unlink()
    masks = {s.image.name: s.mask for s in open_one(tmp_path).samples if s.category == "bottle"}
    assert masks["000.png"] is None
    assert masks["001.png"] == tmp_path / "bottle/ground_truth/broken_large/001_mask.png"
    write(tmp_path / "bottle/ground_truth/broken_large/001.png")
    with pytest.raises(DatasetError, match=r"001\.png and 001_mask\.png"):
        open_datasets(str(tmp_path))


@given(
    st.dictionaries(
        st.from_regex(r"[a-c0-2]{1,4}", fullmatch=True),
        st.sampled_from([None, ".png", "_mask.png", "_mask.bmp", "_label.bmp"]),
        max_size=8,
    )
)
def test_mask_finder(endings: dict[str, str | None]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem, ending in endings.items():
            if ending is not None:
                (folder / (stem + ending)).touch()
        finder = MaskFinder(folder)
        for stem, ending in endings.items():
            expected = () if ending is None else (folder / (stem + ending),)
            assert finder.find(Path("elsewhere", f"{stem}.jpg")) == expected


def test_benchmark_table() -> None:
    assert [b.name for b in BENCHMARKS] == [
        "MVTec-AD", "VisA", "KolektorSDD", "KolektorSDD-cropped", "DTD-Synthetic", "WFDD",
        "GoodsAD", "VISION", "PR-REAL",
    ]  # fmt: skip
    folders = [folder.lower() for b in BENCHMARKS for folder in {f.lower() for f in b.folders}]
    assert len(folders) == len(set(folders))  # no folder is taken for two sets
    assert find_benchmark("visa") is BENCHMARKS[1]
    assert find_benchmark("none") is None
