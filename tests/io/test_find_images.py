"""Finding images: what any camera, editor or accident may leave on a disk."""

import os
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from flawsight.errors import ImageError
from flawsight.io import find_images as module
from flawsight.io.find_images import find_images, search_images
from flawsight.io.images import SUFFIXES, read_image
from helpers.command_line import flawsight


@pytest.fixture
def shots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as people keep them; empty files do, for find_images reads none."""
    for name in (
        "b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.tiff", "sub/deep/d.webp",
        ".cache/e.png", "sub/readme.md", "z.bmp", "odd[1].png", "none/x.csv",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_images_deeply_sorted_and_without_hidden_ones(shots):
    expected = ["a.JPG", "b.png", "odd[1].png", "sub/c.tiff", "sub/deep/d.webp", "z.bmp"]
    assert find_images([shots]) == [shots / name for name in expected]


def test_masks_of_a_data_set_are_no_photos_unless_named(shots):
    mask = shots / "ground_truth/bent/1_mask.png"
    mask.parent.mkdir(parents=True)
    mask.touch()
    assert mask not in find_images([shots])
    assert find_images(["ground_truth"]) == find_images([mask]) == [mask]


def test_found_paths_are_absolute_and_in_the_order_given(shots):
    assert find_images(["z.bmp", "sub", "b.png"]) == [
        shots / name for name in ("z.bmp", "sub/c.tiff", "sub/deep/d.webp", "b.png")
    ]


def test_a_file_named_outright_is_taken_whatever_it_is(shots):
    names = ["notes.txt", ".hidden.png", "odd[1].png"]
    assert find_images(names) == [shots / name for name in names]


def test_a_hidden_folder_named_outright_is_searched(shots):
    assert find_images([".cache"]) == [shots / ".cache/e.png"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["b.png", "odd[1].png"]),
        ("**/*.tiff", ["sub/c.tiff"]),
        ("[ab].*", ["a.JPG", "b.png"]),
        ("*", ["a.JPG", "b.png", "odd[1].png", "sub/c.tiff", "sub/deep/d.webp", "z.bmp"]),
        ("**", ["a.JPG", "b.png", "odd[1].png", "sub/c.tiff", "sub/deep/d.webp", "z.bmp"]),
        ("s?b", ["sub/c.tiff", "sub/deep/d.webp"]),
    ],
)
def test_a_glob_gives_its_images_sorted(shots, pattern, names):
    assert find_images([pattern]) == [shots / name for name in names]
    assert find_images([str(shots / pattern)]) == [shots / name for name in names]


def test_an_image_named_twice_is_found_once_where_it_came_first(shots):
    found = find_images(["sub/c.tiff", shots / "sub", "sub/../sub/c.tiff", "./sub/*.tiff"])
    assert found == [shots / "sub/c.tiff", shots / "sub/deep/d.webp"]


def test_a_home_folder_is_expanded_but_a_tilde_in_a_name_is_not(shots, monkeypatch):
    monkeypatch.setenv("HOME", str(shots / "sub"))
    (shots / "~backup.png").touch()
    found = find_images(["~/c.tiff", "~backup.png"])
    assert found == [shots / "sub/c.tiff", shots / "~backup.png"]


@pytest.mark.parametrize(
    "missing", ["gone.png", "gone/", "*.gif", "none", "~nobody-at-all/x.png", "x" * 5000, "a\0b"]
)
def test_a_path_without_an_image_is_an_image_error_that_names_it(shots, missing):
    with pytest.raises(ImageError) as caught:
        find_images(["b.png", missing])
    assert missing in str(caught.value)


def test_no_paths_give_no_images():
    assert find_images([]) == []


def test_a_glob_through_links_in_circles_ends(shots):
    for name in ("up", "round", "again"):
        (shots / f"sub/deep/{name}").symlink_to(shots, target_is_directory=True)
    assert find_images(["**/*.webp"]) == [shots / "sub/deep/d.webp"]
    assert find_images([f"{shots}/**/deep/*.[wt]*"]) == [shots / "sub/deep/d.webp"]
    assert find_images(["**/sub/**/*.webp"]) == [shots / "sub/deep/d.webp"]


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_every_file_is_used_or_left_out_with_a_reason(shots):
    put(shots, "ground_truth/bent/1.png", "sub/run/run.json", "sub/run/photos/x.jpg", "x.dng")
    put(shots, "calibration.json", "calibration.json.png", "other.json.png")
    (shots / "gone.png").symlink_to(shots / "nowhere.png")
    os.mkfifo(shots / "pipe.png")
    found = search_images([shots])
    used = {str(path.relative_to(shots)) for path in found.images}
    left_out = {
        reason: [os.path.relpath(file, shots) for file in files]
        for reason, files in found.left_out.items()
    }
    assert left_out == {
        module.HIDDEN: [".cache", ".hidden.png"],
        module.OTHER: ["calibration.json", "none/x.csv", "notes.txt", "sub/readme.md", "x.dng"],
        module.HISTOGRAM: ["calibration.json.png"],
        module.BROKEN: ["gone.png", "pipe.png"],
        module.MASK: ["ground_truth/bent/1.png"],
        module.RUN: ["sub/run"],
    }
    assert used == {
        "a.JPG", "b.png", "odd[1].png", "other.json.png", "sub/c.tiff", "sub/deep/d.webp", "z.bmp",
    }  # fmt: skip
    assert search_images([shots, shots / ".hidden.png"]).left_out[module.HIDDEN] == [
        str(shots / ".cache") + "/"
    ]


@pytest.mark.parametrize("given", [".", "*", "**", "**/*.*", "..", "link", "run"])
def test_a_run_is_never_inspected(given, tmp_path, monkeypatch):
    put(tmp_path, "photos/a.jpg", "photos/run/run.json", "photos/run/photos/b.jpg")
    put(tmp_path, "photos/run/report/thumbs/c.jpg", "photos/run/d.jpg")
    (tmp_path / "photos/link").symlink_to(tmp_path / "photos/run/report")
    (tmp_path / "photos/linked.jpg").symlink_to(tmp_path / "photos/run/d.jpg")
    monkeypatch.chdir(tmp_path / "photos")
    if given in ("link", "run"):
        for inside in (given, f"{given}/**", "run/photos", "run/photos/b.jpg", "linked.jpg"):
            with pytest.raises(ImageError, match="run folder"):
                find_images([inside])
    else:
        found = search_images([given])
        assert list(found.images) == [tmp_path / "photos/a.jpg"]
        assert found.left_out[module.RUN]


def test_links_to_folders_are_followed_and_cycles_end(tmp_path):
    put(tmp_path, "photos/a.jpg", "photos/real/r.jpg", "elsewhere/b.jpg", "elsewhere/deep/c.jpg")
    photos = tmp_path / "photos"
    for name, target in {
        "line3": "../elsewhere", "again": "../elsewhere", "loop": ".", "back": "real",
    }.items():  # fmt: skip
        (photos / name).symlink_to(target)
    (tmp_path / "elsewhere/up").symlink_to(photos)
    (photos / "latest.jpg").symlink_to("a.jpg")
    found = find_images([photos])
    assert photos / "real/r.jpg" in found  # not by its link
    assert sorted(path.resolve().name for path in found) == [
        "a.jpg", "a.jpg", "b.jpg", "c.jpg", "r.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JFIF"])
def test_a_jpeg_may_have_any_of_its_suffixes(suffix, tmp_path):
    path = tmp_path / f"chrome{suffix}"
    Image.new("RGB", (9, 7)).save(path, "JPEG")
    assert find_images([tmp_path]) == [path]
    assert read_image(path).size == (9, 7)


def test_a_format_of_phones_is_read_or_named_with_its_extra(tmp_path):
    put(tmp_path, "a.png", "phone.heic", "phone.HEIF", "phone.avif")
    missing = [
        n for n in ("phone.HEIF", "phone.avif", "phone.heic") if n[5:].lower() not in SUFFIXES
    ]
    found = search_images([tmp_path])
    assert len(found.images) == 4 - len(missing)
    named = [Path(file).name for file in found.left_out.get(module.PLUGIN, [])]
    assert named == missing
    if missing:
        with pytest.raises(ImageError, match=r"flawsight\[heif\]"):
            find_images([tmp_path / "*.heic"])
    if ".avif" in SUFFIXES:
        Image.new("RGB", (9, 7)).save(tmp_path / "phone.avif")
        assert read_image(tmp_path / "phone.avif").size == (9, 7)


def test_a_folder_that_cannot_be_read_is_named(shots, monkeypatch):
    scan = os.scandir

    def denied(folder):
        if os.fspath(folder).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(module.os, "scandir", denied)
    with pytest.raises(ImageError, match=r"sub/deep: Permission denied"):
        find_images([shots])


def test_many_files_are_found_quickly(tmp_path):
    for part in range(10):
        folder = tmp_path / f"{part}"
        folder.mkdir()
        for index in range(1000):
            os.close(os.open(folder / f"{index}.jpg", os.O_CREAT))
    began = time.process_time()
    assert len(find_images([tmp_path])) == 10_000
    assert time.process_time() - began < 1
    shutil.rmtree(tmp_path)


def test_inspect_names_what_it_left_out(tmp_path):
    Image.radial_gradient("L").resize((40, 30)).save(tmp_path / "a.png")
    put(tmp_path, "notes.txt", "ground_truth/a_mask.png", *[f".{n}.png" for n in "abcd"])
    code, output = flawsight("inspect", tmp_path, "--out", tmp_path / "run")
    assert code == 0
    assert "Left out: 4 hidden (.a.png, .b.png, .c.png, …)." in output
    assert "1 not of an image's type (notes.txt)" in output
    assert "1 in ground_truth/, which holds the masks of a data set (a_mask.png)." in output
    code, output = flawsight("inspect", tmp_path, "--out", tmp_path / "run")
    assert "1 images: " in output
    assert "1 in a run folder, which holds a run.json (run/)." in output
