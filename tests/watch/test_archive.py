"""Inspected photos are moved as told, each to a path of its own, also after a kill."""

import errno
import os
import time
from pathlib import Path

import pytest

from flawsight.errors import WatchError
from flawsight.io.file_stamp import FileStamp
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from flawsight.watch.scan_folder import check_folders
from helpers.waiting import wait_until
from helpers.watching import ABOUT, StandIn, photo, seen, watching


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_photos_are_sorted_by_verdict(folder: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    (folder / "deep").mkdir()
    (folder / "deep/a.png").write_bytes(photo(1))
    (folder / "b.png").write_bytes(photo(2, defective=True))
    (folder / "c.png").write_bytes(b"no image")
    with watching(folder, tmp_path / "run", move_to=done, patience=0.2) as watch:
        watch.wait_for(3)
    assert (done / "good/deep/a.png").read_bytes() == photo(1)
    assert (done / "defective/b.png").read_bytes() == photo(2, defective=True)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["c.png"]
    rows = {Path(row["image"]).name: row for row in read_rows(tmp_path / "run")}
    assert rows["a.png"]["image"] == str(done / "good/deep/a.png")
    assert rows["a.png"]["source"] == str(folder / "deep/a.png")
    assert FileStamp(**rows["a.png"]["file"]).current(rows["a.png"]["image"]) is not None


def test_a_camera_that_always_writes_one_name_keeps_all_its_photos(
    folder: Path, tmp_path: Path
) -> None:
    with watching(folder, tmp_path / "run", move_to=tmp_path / "done") as watch:
        for index in (1, 2, 3):
            (folder / "latest.png").write_bytes(photo(index))
            wait_until(lambda: not (folder / "latest.png").exists())
        # The same bytes again are another part.
        (folder / "latest.png").write_bytes(photo(3))
        watch.wait_for(4)
    rows = read_rows(tmp_path / "run")
    assert [Path(row["image"]).name for row in rows] == [
        "latest.png", "latest-2.png", "latest-3.png", "latest-4.png",
    ]  # fmt: skip
    for row, index in zip(rows, (1, 2, 3, 3), strict=True):
        assert row["explanation"] == seen(Path(row["image"]).read_bytes()) == seen(photo(index))


def test_a_photo_replaced_before_its_move_stays_and_is_inspected(
    folder: Path, tmp_path: Path
) -> None:
    path = folder / "latest.png"
    path.write_bytes(photo(1))
    inspector = StandIn(1, 0.5)
    with watching(folder, tmp_path / "run", inspector, move_to=tmp_path / "done") as watch:
        wait_until(lambda: watch.status.waiting == 1)
        time.sleep(0.4)  # it is being inspected
        path.write_bytes(photo(2))
        watch.wait_for(2)
        wait_until(lambda: not path.exists())
    assert [row["explanation"] for row in watch.rows] == [seen(photo(1)), seen(photo(2))]
    assert (tmp_path / "done/good/latest-2.png").read_bytes() == photo(2)


@pytest.mark.parametrize("copied", [False, True])
def test_a_move_that_a_kill_prevented_is_made_without_a_second_verdict(
    folder: Path, tmp_path: Path, copied: bool
) -> None:
    """The kill comes after the row; from another disk, maybe after the copy."""
    source, target = folder / "a.png", tmp_path / "done/good/a.png"
    with watching(folder, tmp_path / "run", move_to=tmp_path / "done") as watch:
        source.write_bytes(photo(1))
        watch.wait_for(1)
    target.rename(source)
    if copied:
        target.write_bytes(source.read_bytes())
    with watching(folder, tmp_path / "run", move_to=tmp_path / "done") as watch:
        wait_until(lambda: not source.exists())
        (folder / "b.png").write_bytes(photo(2))
        watch.wait_for(1)
        assert set(watch.verdicts()) == {"b.png"}
    assert target.read_bytes() == photo(1)
    assert len(read_rows(tmp_path / "run")) == 2


def test_without_move_to_what_was_not_moved_is_done(folder: Path, tmp_path: Path) -> None:
    with watching(folder, tmp_path / "run", move_to=tmp_path / "done") as watch:
        (folder / "a.png").write_bytes(photo(1))
        watch.wait_for(1)
    (tmp_path / "done/good/a.png").rename(folder / "a.png")
    with watching(folder, tmp_path / "run") as watch:
        (folder / "b.png").write_bytes(photo(2))
        watch.wait_for(1)
        assert set(watch.verdicts()) == {"b.png"}


def test_an_archive_on_another_disk_gets_whole_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def other_disk(source: str, target: str) -> None:
        if Path(source).parent == folder:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", other_disk)
    with watching(folder, tmp_path / "run", move_to=tmp_path / "done") as watch:
        (folder / "a.png").write_bytes(photo(1))
        watch.wait_for(1)
        wait_until(lambda: not (folder / "a.png").exists())
    assert (tmp_path / "done/good/a.png").read_bytes() == photo(1)
    assert [path.name for path in (tmp_path / "done/good").iterdir()] == ["a.png"]


def test_a_move_that_is_not_possible_is_said_and_made_later(folder: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    (done / "good").write_text("in the way")
    with watching(folder, tmp_path / "run", move_to=done) as watch:
        (folder / "a.png").write_bytes(photo(1))
        watch.wait_for(1)
        wait_until(lambda: "Cannot move" in watch.status.notes.get("moving", ""))
        (done / "good").unlink()
        wait_until(lambda: (done / "good/a.png").exists())
        wait_until(lambda: not watch.status.notes)
    assert len(watch.rows) == 1


def test_folders_that_cannot_work_are_refused(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "run"
    with pytest.raises(WatchError, match="no folder"):
        check_folders(folder, out, None)
    folder.mkdir()
    check_folders(folder, folder / "run", folder / "done")
    with pytest.raises(WatchError, match="another --out"):
        check_folders(folder, folder, None)
    with pytest.raises(WatchError, match="holds the watched folder"):
        check_folders(folder, out, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(WatchError, match="is a file"):
        check_folders(folder, out, tmp_path / "file")
    RunFolder(out, ABOUT)
    (out / "in").mkdir()
    with pytest.raises(WatchError, match="run folder or in one"):
        check_folders(out / "in", tmp_path / "other", None)
