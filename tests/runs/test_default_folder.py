"""The run folder without --out: one inspection each, resumed by the same command."""

import os
import shutil
from pathlib import Path

import pytest

from flawsight.io.find_images import find_images
from flawsight.runs.default_folder import default_folder
from flawsight.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


def inspect(*paths: str) -> str:
    images = find_images(paths)
    folder = default_folder(images)
    run = RunFolder(folder, {})
    for image in images:
        if str(image) not in run.finished:
            run.add_row({"image": str(image)}, {})
    return str(folder)


def test_other_photos_get_a_folder_of_their_own_and_the_same_are_resumed() -> None:
    put("a/1.jpg", "a/2.jpg", "b/1.jpg")
    assert inspect("a") == "flawsight-run"
    assert inspect("b") == "flawsight-run-2"
    for _ in range(2):
        assert inspect("a/") == inspect("./a/*.jpg") == "flawsight-run"
        assert inspect("b") == "flawsight-run-2"
        assert inspect("a/1.jpg") == "flawsight-run-3"
        assert inspect("b", "a") == "flawsight-run"  # all of it, and more
        shutil.rmtree("flawsight-run")
        assert inspect("a") == "flawsight-run"


def test_a_folder_that_grows_and_is_cleared_stays_with_its_run() -> None:
    put("cam/1.jpg", "cam/2.jpg")
    for day in range(3, 6):
        assert inspect("cam") == "flawsight-run"
        os.remove(f"cam/{day - 2}.jpg")
        put(f"cam/{day}.jpg")
    os.remove("cam/4.jpg")
    os.remove("cam/5.jpg")
    put("cam/9.jpg")
    assert inspect("cam") == "flawsight-run-2"
