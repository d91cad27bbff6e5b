"""Photos come in all ways: each whole content gets one verdict, and no half one any."""

import json
import os
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from flawsight.io.unwritten import has_unwritten_end
from flawsight.runs.read import read_rows
from flawsight.watch.scan_folder import is_remote
from helpers.waiting import wait_until
from helpers.watching import StandIn, photo, seen, watching


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def write_slowly(path: Path, content: bytes, pause: float, pieces: int = 4) -> None:
    step = -(-len(content) // pieces)
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            time.sleep(pause)


@pytest.mark.parametrize(
    ("kind", "pause"), [("JPEG", 0.05), ("BMP", 0.05), ("TIFF", 0.05), ("JPEG", 0.4), ("PNG", 0.4)]
)
def test_no_half_file_is_inspected(folder: Path, tmp_path: Path, kind: str, pause: float) -> None:
    """With pauses shorter and longer than that for which a file must not change."""
    whole = photo(1, kind=kind)
    with watching(folder, tmp_path / "run") as watch:
        write_slowly(folder / f"a.{kind.lower()}", whole, pause)
        watch.wait_for(1)
        assert watch.verdicts() == {f"a.{kind.lower()}": seen(whole)}


def test_a_file_whose_space_was_reserved_is_awaited(folder: Path, tmp_path: Path) -> None:
    """JPEG decodes zeros as grey, without an error."""
    whole = photo(1, kind="JPEG", side=200)
    path = folder / "a.jpg"
    with watching(folder, tmp_path / "run") as watch:
        with path.open("wb", buffering=0) as file:
            file.truncate(len(whole))
            file.write(whole[: len(whole) // 2])
            time.sleep(0.5)
            assert has_unwritten_end(str(path))
            assert watch.rows == []
            file.write(whole[len(whole) // 2 :])
        watch.wait_for(1)
        assert watch.verdicts() == {"a.jpg": seen(whole)}


def test_a_file_is_inspected_at_once_after_a_rename(folder: Path, tmp_path: Path) -> None:
    """Under its first name it is none of ours: hidden, or without an image's suffix."""
    first, second = photo(1), photo(2)
    with watching(folder, tmp_path / "run") as watch:
        (folder / ".a.png").write_bytes(first)
        (folder / "b.png.part").write_bytes(second)
        time.sleep(0.4)
        assert watch.rows == []
        os.replace(folder / ".a.png", folder / "a.png")
        os.replace(folder / "b.png.part", folder / "b.png")
        watch.wait_for(2)
        assert watch.verdicts() == {"a.png": seen(first), "b.png": seen(second)}


def test_a_photo_that_is_replaced_is_inspected_again_and_a_touched_one_is_not(
    folder: Path, tmp_path: Path
) -> None:
    path = folder / "latest.png"
    path.write_bytes(photo(1))
    with watching(folder, tmp_path / "run") as watch:
        watch.wait_for(1)
        os.utime(path, (5, 5))
        time.sleep(0.4)
        assert len(watch.rows) == 1
        path.write_bytes(photo(2, defective=True))
        watch.wait_for(2)
    (row,) = read_rows(tmp_path / "run")
    assert row["explanation"] == seen(photo(2, defective=True))
    assert row["pred_label"]


def test_what_cannot_be_read_fails_after_a_while_and_is_tried_again_when_it_changes(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "a.png").write_bytes(photo(1)[:-200])
    with watching(folder, tmp_path / "run", patience=0.3) as watch:
        watch.wait_for(1)
        assert "error" in watch.rows[0]
        (folder / "a.png").write_bytes(photo(1))
        watch.wait_for(2)
    (row,) = read_rows(tmp_path / "run")
    assert row["explanation"] == seen(photo(1))


def test_a_photo_that_is_taken_away_at_once_leaves_no_row(folder: Path, tmp_path: Path) -> None:
    with watching(folder, tmp_path / "run", StandIn(1, 0.3)) as watch:
        for name in "ab":
            (folder / f"{name}.png").write_bytes(photo(1))
        wait_until(lambda: watch.status.waiting == 2)
        (folder / "b.png").unlink()
        watch.wait_for(1)
        assert set(watch.verdicts()) == {"a.png"}


def test_a_restart_gives_no_second_verdict(folder: Path, tmp_path: Path) -> None:
    for index in range(3):
        (folder / f"{index}.png").write_bytes(photo(index))
    with watching(folder, tmp_path / "run") as watch:
        watch.wait_for(3)
    (folder / "1.png").write_bytes(photo(9))
    (folder / "new.png").write_bytes(photo(5))
    with watching(folder, tmp_path / "run") as watch:
        watch.wait_for(2)
        assert watch.verdicts() == {"1.png": seen(photo(9)), "new.png": seen(photo(5))}
        assert watch.status.before == 3
    assert len(read_rows(tmp_path / "run")) == 4


def test_a_lost_share_is_awaited_and_nothing_is_forgotten(folder: Path, tmp_path: Path) -> None:
    (folder / "a.png").write_bytes(photo(1))
    with watching(folder, tmp_path / "run") as watch:
        watch.wait_for(1)
        folder.rename(tmp_path / "away")
        wait_until(lambda: "Waiting for it" in watch.status.notes.get("folder", ""))
        folder.mkdir()  # an empty mount point
        wait_until(lambda: not watch.status.notes)
        folder.rmdir()
        (tmp_path / "away").rename(folder)
        (folder / "b.png").write_bytes(photo(2))
        watch.wait_for(2)
        assert watch.verdicts() == {"a.png": seen(photo(1)), "b.png": seen(photo(2))}


def test_the_report_follows(folder: Path, tmp_path: Path) -> None:
    with watching(folder, tmp_path / "run") as watch:
        (folder / "a.png").write_bytes(photo(1))
        watch.wait_for(1)
        page = tmp_path / "run/report.html"
        wait_until(lambda: page.exists() and seen(photo(1)) in page.read_text())
        (folder / "b.png").write_bytes(photo(2))
        wait_until(lambda: seen(photo(2)) in page.read_text())


def test_a_run_folder_and_an_archive_below_the_watched_folder_are_not_inspected(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "deep").mkdir()
    (folder / "deep/a.png").write_bytes(photo(1))
    with watching(folder, folder / "run", move_to=folder / "done") as watch:
        watch.wait_for(1)
    assert (folder / "done/good/deep/a.png").read_bytes() == photo(1)


def check_flood(folder: Path, out: Path, count: int) -> None:
    """Write photos as fast as the disk takes them; each has one row, of its own pixels."""
    wanted = {}
    with watching(folder, out, StandIn(16)) as watch:
        for index in range(count):
            content = photo(index, side=33)
            (folder / f"{index:05}.png").write_bytes(content)
            wanted[f"{index:05}.png"] = seen(content)
        wait_until(lambda: len(watch.rows) == count, 60 + count / 10)
    lines = (out / "inspections.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["image"] for line in lines).most_common(1)[0][1] == 1
    assert {Path(r["image"]).name: r["explanation"] for r in read_rows(out)} == wanted


def test_a_flood_loses_nothing(folder: Path, tmp_path: Path) -> None:
    check_flood(folder, tmp_path / "run", 30)


@pytest.mark.slow
def test_a_flood_of_10_000_loses_nothing(folder: Path, tmp_path: Path) -> None:
    check_flood(folder, tmp_path / "run", 10_000)


def test_events_of_the_system_bring_a_photo_before_the_next_scan(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("watchdog")
    monkeypatch.setattr("flawsight.watch.watch_folder._QUIET", 60.0)
    with watching(folder, tmp_path / "run", poll=None) as watch:
        time.sleep(0.5)
        (folder / "new").mkdir()
        (folder / "new/a.png").write_bytes(photo(1))
        watch.wait_for(1, 5)


@pytest.mark.parametrize(
    ("kind", "remote"),
    [("ext4", False), ("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("tmpfs", False)],
)
def test_a_network_share_is_known_by_its_file_system(
    kind: str, remote: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The innermost mount counts."""
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4")]
    mounts.append(SimpleNamespace(mountpoint=str(folder.resolve()), fstype=kind))
    monkeypatch.setattr("psutil.disk_partitions", lambda all: mounts)
    assert is_remote(folder / "deep") == remote


def test_an_end_that_is_not_written_yet_is_seen(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        path = tmp_path / f"a.{kind.lower()}"
        path.write_bytes(photo(1, kind=kind))
        assert not has_unwritten_end(str(path)), kind
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + 100)
        # The last row of a BMP may be black.
        assert has_unwritten_end(str(path)) == (kind not in ("BMP", "TIFF")), kind
    (tmp_path / "empty.bmp").touch()
    assert has_unwritten_end(str(tmp_path / "empty.bmp"))
    assert has_unwritten_end(str(tmp_path / "none.bmp"))
