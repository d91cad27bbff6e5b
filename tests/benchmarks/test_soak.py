"""The long-run benchmarks at a smoke size, asserting no times."""

import subprocess
from pathlib import Path

import pytest
from soak import command, differences, kill_and_resume, make_photos, soak

from flawsight.runs.read import read_rows


def test_a_soak_counts_what_it_did(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 12)
    found = soak(photos, tmp_path / "run", batch_size=4, image_tokens=36, samples=6)
    assert [done for done, _, _ in found["samples"]] == [2, 4, 6, 8, 10, 12]
    assert all(mib > 100 for _, _, mib in found["samples"])
    assert all(seconds > 0 for seconds in found["seconds_an_image"])
    assert len(read_rows(tmp_path / "run")) == 12


@pytest.mark.slow
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
