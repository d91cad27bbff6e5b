"""The long-run benchmarks at a smoke size, asserting no times; and the sizes' arithmetic."""

import subprocess
from pathlib import Path

import pytest
from sizing import DAY, LOADED, copies, floor, table
from soak import command, differences, kill_and_resume, make_photos, soak

from flawsight.runs.read import read_rows


def test_a_soak_counts_what_it_did(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 12)
    found = soak(photos, tmp_path / "run", batch_size=4, image_tokens=36, samples=6)
    assert [done for done, _, _ in found["samples"]] == [2, 4, 6, 8, 10, 12]
    assert all(mib > 100 for _, _, mib in found["samples"])
    assert all(seconds > 0 for seconds in found["seconds_an_image"])
    assert len(read_rows(tmp_path / "run")) == 12


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    # A process of its own too: other tests leave other numbers of threads behind.
    make_photos(tmp_path / "photos", 6)
    subprocess.run(command(tmp_path / "photos", tmp_path / "whole"), check=True)
    [left] = kill_and_resume(tmp_path / "photos", tmp_path / "killed", 1, 6, seed=1)
    assert 0 < left < 6
    assert differences(tmp_path / "killed", tmp_path / "whole") == []
    row = read_rows(tmp_path / "whole")[2]
    (tmp_path / "killed" / row["anomaly_map"]).write_bytes(b"")
    assert differences(tmp_path / "killed", tmp_path / "whole") == [row["anomaly_map"]]


@pytest.mark.parametrize("a_day", [1e6, 1e8])
def test_the_copies_do_the_work_of_a_day(a_day: float) -> None:
    for rate in (0.5, 12.0, 400.0):
        needed = copies(a_day, rate)
        assert needed * rate * DAY * LOADED >= a_day
        assert (needed - 1) * rate * DAY * LOADED < a_day


def test_the_table_shows_rates_and_bytes() -> None:
    text = table({"one": 2.0}, {"maps": 1500.0})
    assert "| one | 2 | 10 | 965 |" in text
    assert "| maps | 1,500 | 1.5 GB | 150 GB |" in text
    assert floor("3B").images_per_second > floor("7B").images_per_second > 0
