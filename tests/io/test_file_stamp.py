"""Which bytes a result belongs to, and files that are still being written."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import flawsight.io.file_stamp as module
from flawsight.errors import ImageError
from flawsight.io.file_stamp import FileStamp, read_stamped, stamp_of_bytes, was_replaced


@given(before=st.binary(max_size=40), after=st.binary(max_size=40), keep_time=st.booleans())
def test_a_file_is_the_same_iff_its_bytes_are(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, after: bytes, keep_time: bool
) -> None:
    path = tmp_path_factory.mktemp("stamps") / "0001.jpg"
    path.write_bytes(before)
    stamp = FileStamp.of_file(path)
    row = {"image": str(path), "file": stamp.to_json()}
    assert not was_replaced(row, path)
    assert stamp.current(path) == FileStamp(**row["file"]) == stamp
    state = path.stat()
    path.write_bytes(after)
    if keep_time:  # as `cp -p` and a camera's clock that stands still
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert was_replaced(row, path) == (before != after)


def test_a_touched_or_copied_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    stamp = FileStamp.of_file(path)
    os.utime(path, (1, 1))
    assert stamp.current(path) == FileStamp.of_file(path) != stamp
    copy = Path(shutil.copy(path, tmp_path / "b.png"))
    row = {"image": str(path), "file": stamp.to_json()}
    assert not was_replaced(row, copy)
    assert not was_replaced(row, tmp_path / "gone.png")
    assert not was_replaced({"image": str(path)}, path)
    assert stamp_of_bytes(path.read_bytes()).current(path) is not None


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tiff"])
def test_a_file_that_is_still_being_written_is_read_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT", 0.1)
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"a.{kind}"
    Image.effect_noise((64, 64), 50).convert("RGB").save(whole)
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    def write_the_rest() -> None:
        time.sleep(0.05)
        with path.open("ab") as file:
            file.write(content[len(content) // 2 :])

    camera = threading.Thread(target=write_the_rest)
    camera.start()
    photo, stamp = read_stamped(path)
    camera.join()
    assert photo.image.tobytes() == module.read_photo(whole).image.tobytes()
    assert stamp == FileStamp.of_file(path)


def test_a_damaged_file_of_long_ago_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda _: pytest.fail("it waits"))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG")
    os.utime(path, (1, 1))
    for broken in (path, tmp_path / "gone.png", "a\0b"):
        with pytest.raises(ImageError, match=r"a\.png|gone|a.b"):
            read_stamped(broken)
