"""Images, masks and other files of folders: what belongs to what, and what is left out."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flawsight.cgro.training_data import read_training_data
from flawsight.cli import app
from flawsight.data.check import check_dataset
from flawsight.data.dataset import Dataset, Sample
from flawsight.data.mask_pairs import unmarked
from flawsight.data.masks import read_gt_mask
from flawsight.data.open import open_datasets
from flawsight.data.unused import left_out_line
from flawsight.errors import DatasetError


def image(path: Path) -> Path:
    """Write a 12×10 image, another one for each path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(str(path).encode())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (10, 12, 3), np.uint8)).save(path)
    return path


def mask(path: Path, area: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((10, 12), np.uint8)
    pixels[:area, :area] = 255
    Image.fromarray(pixels).save(path)
    return path


def good_bad(root: Path) -> Path:
    for name in ("good/000.png", "good/001.png", "bad/000.png", "bad/001.png"):
        image(root / name)
    return root


def mvtec(root: Path) -> Path:
    for name in ("train/good/000", "test/good/000", "test/crack/000", "test/crack/001"):
        image(root / f"nut/{name}.png")
    return root


def opened(root: Path) -> Dataset:
    (dataset,) = open_datasets(str(root))
    return dataset


def masks(root: Path) -> dict[str, str | None]:
    """Return the masks of the defective images, by paths below the root."""
    return {
        s.image.relative_to(root).as_posix(): s.mask and s.mask.relative_to(root).as_posix()
        for s in opened(root).samples
        if s.label == 1
    }


def findings(root: Path) -> list[tuple[str, str]]:
    report = check_dataset(opened(root))
    return [(f.kind, f.path.relative_to(root).as_posix()) for f in report.findings]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000_mask", "000"), ("000_GT", "000"), ("a_b-Label", "a_b"), ("mask_000", "000"),
        ("000.seg", "000"), ("000_ground_truth", "000"), ("000 Mask", "000"),
        ("000_mask_1", "000"), ("000_GT2", "000"), ("a_1_masks-03", "a_1"), ("box_label_1", None),
        ("weight", None), ("mask", None), ("_mask", None), ("masked_000", None), ("000", None),
    ],
)  # fmt: skip
def test_the_marker_of_a_mask(name: str, expected: str | None) -> None:
    assert unmarked(name) == expected


@pytest.mark.parametrize(
    "name",
    ["000.png", "000_mask.png", "000_GT.bmp", "000_MASK.PNG", "000_gt.png", "000-seg.tif",
     "000_label.jpg", "mask_000.png", "000.png.png"],
)  # fmt: skip
@pytest.mark.parametrize("make", [good_bad, mvtec])
def test_a_mask_of_any_marker_and_suffix_is_paired(
    make: Callable[[Path], Path], name: str, tmp_path: Path
) -> None:
    root = make(tmp_path / "set")
    images = "bad/" if make is good_bad else "nut/test/crack/"
    folder = "ground_truth/bad/" if make is good_bad else "nut/Ground_Truth/Crack/"
    mask(root / folder / name)
    mask(root / folder / name.replace("000", "001"))
    assert masks(root) == {
        f"{images}{stem}.png": folder + name.replace("000", stem) for stem in ("000", "001")
    }
    assert findings(root) == []


@pytest.mark.parametrize("make", [good_bad, mvtec])
def test_a_mask_beside_its_image_is_no_image(make: Callable[[Path], Path], tmp_path: Path) -> None:
    root = make(tmp_path / "set")
    folder = "bad" if make is good_bad else "nut/test/crack"
    before = len(opened(root).samples)
    mask(root / folder / "000_mask.bmp")
    mask(root / folder / "001-GT.PNG")
    image(root / folder / "front_label.png")  # a photo of a label
    dataset = opened(root)
    assert len(dataset.samples) == before + 1
    assert masks(root) == {
        f"{folder}/000.png": f"{folder}/000_mask.bmp",
        f"{folder}/001.png": f"{folder}/001-GT.PNG",
        f"{folder}/front_label.png": None,
    }
    mask(root / folder / "000_gt.png")
    with pytest.raises(DatasetError, match=r"several masks.*000_gt\.png and 000_mask\.bmp"):
        opened(root)


def test_a_folder_per_image_holds_masks_to_unite(tmp_path: Path) -> None:
    root = mvtec(tmp_path)
    mask(root / "nut/ground_truth/crack/000/000.png", 2)
    mask(root / "nut/ground_truth/crack/000/001.png", 4)
    mask(root / "nut/ground_truth/crack/001/000.png")
    assert masks(root) == {
        f"nut/test/crack/{stem}.png": f"nut/ground_truth/crack/{stem}" for stem in ("000", "001")
    }
    assert findings(root) == []
    first = next(s for s in opened(root).samples if s.label == 1)
    assert read_gt_mask(first, (10, 12)).sum() == 16
    mask(root / "nut/ground_truth/crack/000_mask.png")
    with pytest.raises(DatasetError, match="several masks"):
        opened(root)


@pytest.mark.parametrize("folder", ["nut/ground_truth/crack", ""])
def test_numbered_masks_of_an_image_are_united(folder: str, tmp_path: Path) -> None:
    root = mvtec(tmp_path)
    if not folder:
        root, folder = good_bad(tmp_path / "beside"), "bad"
    mask(root / folder / "000_mask_1.png")
    mask(root / folder / "000_mask_2.png", area=5)
    mask(root / folder / "001_GT1.bmp")
    count = len(list(root.rglob("*.png")))
    dataset = opened(root)
    assert len(dataset.samples) == count - 2
    assert not dataset.unused
    areas = {s.image.stem: int(read_gt_mask(s).sum()) for s in dataset.samples if s.label == 1}
    assert areas == {"000": 25, "001": 9}
    again = [Sample.from_json(json.loads(json.dumps(s.to_json()))) for s in dataset.samples]
    assert tuple(again) == dataset.samples
    assert findings(root) == []


def test_two_numbered_masks_and_another_one_are_an_error(tmp_path: Path) -> None:
    root = good_bad(tmp_path)
    for name in ("000_mask_1", "000_mask_2", "000_mask"):
        mask(root / f"bad/{name}.png")
    with pytest.raises(DatasetError, match=r"has several masks in .*000_mask\.png"):
        open_datasets(str(root))


def test_an_image_like_a_mask_is_a_finding(tmp_path: Path) -> None:
    root = good_bad(tmp_path)
    mask(root / "bad/000_ann.png")
    mask(root / "bad/x.jpg", area=8)  # one of its blocks
    Image.fromarray(np.full((10, 12, 3), 255, np.uint8)).save(root / "good/blank.png")
    like = "image that is like a mask"
    assert findings(root) == [(like, "bad/000_ann.png"), (like, "bad/x.jpg")]
    for name in ("good/000.png", "good/001.png"):  # photos that were all made black and white
        mask(root / name, area=len(name) - 4)
    assert like not in [kind for kind, _ in findings(root)]


@pytest.mark.parametrize("masks_at", ["ground_truth/crack/cam2", "ground_truth/crack", "gt"])
def test_nested_images_have_mirrored_or_flat_masks(masks_at: str, tmp_path: Path) -> None:
    root = mvtec(tmp_path)
    image(root / "nut/test/crack/cam2/007.png")
    image(root / "nut/test/good/day/night/008.png")
    mask(root / "nut" / masks_at / "007_mask.png")
    assert masks(root)["nut/test/crack/cam2/007.png"] == f"nut/{masks_at}/007_mask.png"
    assert sum(s.label == 0 for s in opened(root).samples) == 3


def test_a_mask_that_two_images_may_have_is_refused(tmp_path: Path) -> None:
    root = mvtec(tmp_path)
    for camera in ("cam1", "cam2"):
        image(root / f"nut/test/crack/{camera}/007.png")
    mirrored = mask(root / "nut/ground_truth/crack/cam1/007.png")
    assert masks(root)["nut/test/crack/cam2/007.png"] is None
    mirrored.rename(root / "nut/ground_truth/crack/007.png")
    with pytest.raises(DatasetError, match="may be the mask of"):
        opened(root)


def test_masks_in_a_folder_of_the_class_are_no_images(tmp_path: Path) -> None:
    root = good_bad(tmp_path / "set")
    image(root / "bad/day/images/002.png")
    mask(root / "bad/day/masks/002.png")
    mask(root / "bad/GT/000.png")
    assert masks(root) == {
        "bad/000.png": "bad/GT/000.png",
        "bad/001.png": None,
        "bad/day/images/002.png": "bad/day/masks/002.png",
    }


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    root = good_bad(tmp_path / "set")
    image(tmp_path / "elsewhere/005.jfif.png")
    (root / "bad/archive").symlink_to(tmp_path / "elsewhere")
    (root / "good/circle").symlink_to(root)
    (root / "good/gone.png").symlink_to(tmp_path / "nothing.png")
    names = [s.image.relative_to(root).as_posix() for s in opened(root).samples]
    assert "bad/archive/005.jfif.png" in names
    assert sorted(names) == names


def test_folders_that_contradict_their_class_are_refused(tmp_path: Path) -> None:
    for index, inner in enumerate(("good/NG/0.png", "bad/ok/0.png", "bad/x/test/0.png")):
        root = good_bad(tmp_path / str(index))
        image(root / inner)
        with pytest.raises(DatasetError, match="Move or rename the folder"):
            opened(root)


def test_every_file_that_is_left_out_is_named(tmp_path: Path) -> None:
    root = mvtec(tmp_path)
    mask(root / "nut/ground_truth/crack/000_mask.png")
    mask(root / "nut/ground_truth/crack/001_mask.png")
    assert left_out_line(opened(root)) is None
    (root / "nut/readme.txt").write_text("A readme.")
    (root / "LICENSE").write_text("A licence.")
    assert left_out_line(opened(root)) is None
    image(root / "nut/test/002.png")
    image(root / "nut/overview.png")
    (root / "nut/test/crack/003.heic").write_bytes(b"photo")
    (root / "nut/test/crack/004.png").symlink_to(root / "nothing.png")
    mask(root / "nut/ground_truth/crack/009_mask.png")
    mask(root / "nut/ground_truth/scratch/000_mask.png")
    mask(root / "nut/ground_truth/good/000_mask.png", 0)
    assert sorted(findings(root)) == [
        ("file left out", "nut/overview.png"),
        ("file left out", "nut/test/002.png"),
        ("file left out", "nut/test/crack/003.heic"),
        ("file left out", "nut/test/crack/004.png"),
        ("mask without image", "nut/ground_truth/crack/009_mask.png"),
        ("mask without image", "nut/ground_truth/scratch/000_mask.png"),
    ]
    assert any("documents" in note for note in check_dataset(opened(root)).notes)
    line = left_out_line(opened(root))
    assert line is not None
    assert " and 5 more" in line


def test_training_and_the_mix_say_what_is_left_out(tmp_path: Path) -> None:
    root = good_bad(tmp_path / "set")
    assert read_training_data([str(root)], [], 0.5, 4, 0).notes == ()
    image(root / "unsure/000.png")
    (note,) = read_training_data([str(root)], [], 0.5, 4, 0).notes
    assert "unsure/000.png" in note
    arguments = ["data", "mix", str(tmp_path / "mix.jsonl"), "--data", str(root)]
    output = CliRunner().invoke(app, arguments).output
    assert "neither image nor mask" in output


@pytest.mark.parametrize(("area", "kind"), [(9, []), (12, ["mask of more than 90% of its image"])])
def test_a_mask_of_nearly_everything_is_found(area: int, kind: list[str], tmp_path: Path) -> None:
    root = good_bad(tmp_path / "set")
    mask(root / "ground_truth/bad/000.png", area)
    mask(root / "ground_truth/bad/001.png")
    assert [found for found, _ in findings(root)] == kind


def test_a_mask_of_a_normal_image_is_empty_or_a_finding(tmp_path: Path) -> None:
    root = mvtec(tmp_path)
    for name in ("crack/000", "crack/001", "good/000"):
        path = mask(root / f"nut/ground_truth/{name}_mask.png", 3 * (name != "good/000"))
    assert findings(root) == []
    mask(path)
    found = "mask of a normal image is not empty", "nut/ground_truth/good/000_mask.png"
    assert findings(root) == [found]
    rows = "path,label,mask\nnut/test/good/000.png,0,nut/ground_truth/good/000_mask.png\n"
    (root / "list.csv").write_text(rows)
    assert found in [
        (f.kind, f.path.relative_to(root).as_posix())
        for f in check_dataset(opened(root / "list.csv")).findings
    ]


def test_images_that_differ_in_their_suffix_alone_are_a_finding(tmp_path: Path) -> None:
    root = good_bad(tmp_path / "set")
    image(root / "bad/000.jpg")
    assert findings(root) == [("images of one name", "bad/000.png")]
