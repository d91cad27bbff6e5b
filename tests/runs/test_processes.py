"""One run folder from the processes that `accelerate launch` starts."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flawsight.cli import app
from flawsight.inspector import Inspector
from flawsight.io.find_images import find_images
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from flawsight_surfaces import render_pair
from helpers.bundled import FEW, FEW_OPTIONS
from helpers.forked import command, ranks

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine images: a broken one among them, and an odd number of batches."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        for side, sample in enumerate(render_pair(rng, [(96, 96), (64, 150)][index % 2])):
            Image.fromarray(sample.image).save(folder / f"{2 * index + side}.png")
    (folder / "5-broken.png").write_bytes(b"no image")
    return folder


def launched(*arguments: object) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", str(port), "-m", "flawsight", "inspect", *map(str, arguments),
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": SOURCE}


def contents(run: Path) -> dict[str, Any]:
    """All that a run holds but for times and the page."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(run)]
    files = {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.parent != run and path.is_file()
    }
    return {"rows": rows, "files": files}


def test_two_processes_write_the_run_of_one_even_when_killed(photos: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    options = ["--batch-size", "2", "--device", "cpu", *FEW_OPTIONS]
    result = CliRunner().invoke(app, ["inspect", str(photos), "--out", str(one), *options])
    assert result.exit_code == 1, result.output

    log = tmp_path / "log"
    with ranks(log, command, "inspect", str(photos), "--out", str(two), *options) as processes:
        ends = time.monotonic() + 120
        while not (two / "inspections.rank-1.jsonl").exists():
            assert processes[1].poll() is None, log.read_text()
            assert time.monotonic() < ends
            time.sleep(0.02)
    before = {row["image"]: row for row in read_rows(two) if "error" not in row}
    assert before

    finished = subprocess.run(
        launched(photos, "--out", two, *options),
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "9 images" in finished.stdout
    assert finished.stdout.count("1 failed") == 1
    assert (two / "report.html").exists()
    assert not list(two.glob("inspections.rank-*"))
    after = {row["image"]: row for row in read_rows(two)}
    assert all(after[image] == row for image, row in before.items())
    expected, found = contents(one), contents(two)
    assert [row["image"] for row in found["rows"]] == [row["image"] for row in expected["rows"]]
    assert found["files"].keys() == expected["files"].keys()
    for row, other in zip(found["rows"], expected["rows"], strict=True):
        assert row.get("explanation") == other.get("explanation")
        assert row.get("pred_score") == pytest.approx(other.get("pred_score"), abs=1e-4)
        assert row.get("error") == other.get("error")


def test_processes_take_the_batches_of_one(photos: Path, tmp_path: Path) -> None:
    """In one process after another: the same batches have the same bits."""
    images = find_images([photos])
    inspector = Inspector.from_pretrained(device="cpu", batch_size=2, settings=FEW)
    whole = RunFolder(tmp_path / "whole", describe(inspector))
    inspect_into(whole, inspector, images)
    runs = [RunFolder(tmp_path / "parts", describe(inspector), rank) for rank in range(3)]
    for rank, run in enumerate(runs):
        inspect_into(run, inspector, images, rank=rank, processes=3)
    assert len(list((tmp_path / "parts").glob("inspections*.jsonl"))) == 3
    runs[0].merge(images)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_run_twice_has_the_same_bits(
    photos: Path, tmp_path: Path, temperature: float
) -> None:
    settings = replace(FEW, temperature=temperature, seed=3)
    images = find_images([photos])
    for name in ("one", "two"):
        inspector = Inspector.from_pretrained(device="cpu", batch_size=4, settings=settings)
        inspect_into(RunFolder(tmp_path / name, describe(inspector)), inspector, images)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
