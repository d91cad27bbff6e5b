"""The command line as a user meets it."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flawsight.cli import app
from flawsight.mllm.contradiction import disagreement_sentence
from flawsight.report.view import FORCED
from flawsight.runs.read import read_rows
from flawsight_surfaces import render_pair
from helpers.bundled import FEW, FEW_OPTIONS
from helpers.command_line import flawsight, summary_of
from helpers.forked import Forked, command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(4)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, sample in enumerate(render_pair(rng, (96, 96)) + render_pair(rng, (96, 128))):
        Image.fromarray(sample.image).save(folder / f"{index}.png")
    return folder


def test_inspect_prints_one_line_per_image_and_the_path_of_the_report(
    photos: Path, tmp_path: Path
) -> None:
    code, output = flawsight("inspect", photos, "--out", tmp_path / "run", *FEW_OPTIONS)
    assert code == 0
    for row in read_rows(tmp_path / "run"):
        line = next(line for line in output.splitlines() if Path(row["image"]).name in line)
        assert ("DEFECTIVE" in line) == row["pred_label"]
        assert f"{row['pred_score']:.3f}" in line
    assert str(tmp_path / "run/report.html") in output
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert len(about["model"]["sha256"]) == 64
    assert about["settings"] == FEW.to_json()
    assert {"torch", "transformers", "python"} <= set(about["versions"])


def test_a_response_without_an_answer_is_forced_and_counted(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, output = flawsight(
        "inspect", photos, "--out", out, *FEW_OPTIONS, "--set", "max_new_tokens=6"
    )
    assert code == 0
    rows = list(read_rows(out))
    assert all(row["answer_forced"] and row["explanation"] for row in rows)
    assert f"Of {len(rows)} (100%), the response gave no Yes or No" in output
    assert FORCED in (out / "report.html").read_text()


def test_a_12_bit_photo_is_judged_as_in_8_bits_once_its_bit_depth_is_given(
    photos: Path, tmp_path: Path
) -> None:
    """Without it, the row, the summary and the report warn."""
    for path in list(photos.iterdir()):
        grey = np.asarray(Image.open(path).convert("L"))
        path.unlink()
        Image.fromarray(grey).save(photos / f"{path.stem}-8.png")
        twelve = np.rint(grey * 4095.0 / 255).astype(np.uint16)
        Image.fromarray(twelve).save(photos / f"{path.stem}-12.png")
    dark, right = tmp_path / "dark", tmp_path / "right"
    code, output = flawsight("inspect", photos, "--out", dark, *FEW_OPTIONS)
    assert code == 0
    assert "4 photos have warnings" in output
    warned = {Path(row["image"]).stem for row in read_rows(dark) if row["warnings"]}
    assert warned == {f"{index}-12" for index in range(4)}
    assert "If the camera has 12 bits" in (dark / "report.html").read_text()
    code, output = flawsight("inspect", photos, "--out", right, "--bit-depth", "12", *FEW_OPTIONS)
    assert code == 0
    assert "warnings" not in output
    rows = {Path(row["image"]).stem: row for row in read_rows(right)}
    for index in range(4):
        eight, twelve = rows[f"{index}-8"], rows[f"{index}-12"]
        assert eight["pred_score"] == pytest.approx(twelve["pred_score"], abs=1e-5)
        assert twelve["warnings"] == []
    code, output = flawsight("inspect", photos, "--out", dark, "--bit-depth", "12", *FEW_OPTIONS)
    assert code == 2
    assert "settings.bit_depth None, now 12" in output


def test_inspect_says_what_disagrees_with_a_verdict_by_threshold(
    photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, output = flawsight("inspect", photos, "--out", out, "--threshold", 0, *FEW_OPTIONS)
    assert code == 0
    flagged = 0
    for row in read_rows(out):
        line = next(line for line in output.splitlines() if Path(row["image"]).name in line)
        assert row["contradiction"] or row["answer"] == "Yes"
        flagged += row["contradiction"]
        sentence = disagreement_sentence(row["disagreements"], True, row["answer"])
        assert line.endswith(f" ({sentence})") == row["contradiction"]
    assert flagged
    assert f"Of {flagged}, verdict, answer and reasoning do not all agree." in output


def test_a_second_run_does_only_what_is_missing(photos: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run", *FEW_OPTIONS)
    flawsight("inspect", photos / "0.png", *out)
    first = read_rows(tmp_path / "run")
    code, output = flawsight("inspect", photos, *out)
    assert code == 0
    assert "1 were done before" in output
    assert read_rows(tmp_path / "run")[:1] == first
    assert len(read_rows(tmp_path / "run")) == 4


def test_a_broken_image_makes_exit_code_1_and_stops_nothing(photos: Path, tmp_path: Path) -> None:
    (photos / "1.png").write_bytes(b"no image")
    code, output = flawsight("inspect", photos, "--out", tmp_path / "run", "--quiet", *FEW_OPTIONS)
    assert code == 1
    assert "1 failed" in output
    assert sum("error" in row for row in read_rows(tmp_path / "run")) == 1
    assert len(read_rows(tmp_path / "run")) == 4


def test_files_of_one_name_are_told_apart(photos: Path, tmp_path: Path) -> None:
    for folder in ("left", "right/top"):
        (photos / folder).mkdir(parents=True)
        shutil.copy(photos / "0.png", photos / folder)
    (photos / "left/0.png").write_bytes(b"no image")
    code, output = flawsight("inspect", photos, "--out", tmp_path / "run", "--json", *FEW_OPTIONS)
    assert code == 1
    for name in ("0.png", "left/0.png", "right/top/0.png"):
        assert sum(f"  {name}  " in line for line in output.splitlines()) == 1
    summary = summary_of(output)
    rows = read_rows(tmp_path / "run")
    assert summary["run"] == str(tmp_path / "run")
    assert Path(summary["report"]).is_file()
    assert summary["images"] == len(rows) == 6
    assert summary["failed"] == 1
    assert summary["defective"] == sum(bool(row.get("pred_label")) for row in rows)
    assert summary["good"] == 5 - summary["defective"]


def test_json_alone_is_on_the_standard_output(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "good").mkdir()
    (photos / "bad").mkdir()
    for index in range(4):
        (photos / f"{index}.png").rename(photos / ("good", "bad")[index % 2] / f"{index}.png")
    app(["data", "check", str(photos), "--json"], standalone_mode=False)
    printed = capsys.readouterr()
    (report,) = json.loads(printed.out)["data_sets"]
    assert report["root"] == str(photos)
    assert sum(count["images"] for count in report["counts"]) == 4
    assert "Nothing is wrong" in printed.err


def test_the_version_is_that_of_the_package() -> None:
    assert flawsight("--version") == (0, f"flawsight {version('flawsight')}\n")


def test_words_are_completed() -> None:
    words = {"COMP_WORDS": "flawsight inspect --refer", "COMP_CWORD": "2"}
    asked = os.environ | words | {"_FLAWSIGHT_COMPLETE": "complete_bash"}
    script = "from flawsight.cli import app; app(prog_name='flawsight')"
    output = subprocess.check_output([sys.executable, "-c", script], env=asked, text=True)
    assert sorted(output.split()) == ["--reference", "--reference-prompt"]


def test_warnings_of_libraries_are_kept_off_the_console() -> None:
    script = """
import sys
from flawsight.cli.shell import quiet_libraries
quiet_libraries()
import logging, warnings
warnings.warn("a foreign warning")
logging.getLogger("PIL.Image").warning("a foreign warning")
import transformers
transformers.logging.get_logger("transformers.x").warning("a foreign warning")
logging.getLogger("flawsight.serve").warning("our own")
"""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=plain, text=True, capture_output=True, check=True
    )
    assert done.stderr == "our own\n"


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_size_changes_no_result(batch_size: int, photos: Path, tmp_path: Path) -> None:
    for name, size in (("one", batch_size), ("all", 4)):
        flawsight("inspect", photos, "--out", tmp_path / name, "--batch-size", size, *FEW_OPTIONS)
    one, other = read_rows(tmp_path / "one"), read_rows(tmp_path / "all")
    for a, b in zip(one, other, strict=True):
        assert a["explanation"] == b["explanation"]
        assert a["pred_score"] == pytest.approx(b["pred_score"], abs=1e-4)
        maps = [
            np.load(tmp_path / n / r["anomaly_map"])["anomaly_map"]
            for n, r in (("one", a), ("all", b))
        ]
        np.testing.assert_allclose(*maps, atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/no/such/photo.png"], "no image at /no/such/photo.png"),
        (["{photos}", "--model", "/no/such/model"], "no folder /no/such/model"),
        (["{photos}", "--model", "{photos}"], "no model folder"),
        (["{photos}", "--adapter", "{photos}"], "adapter_config.json"),
        (["{photos}", "--preset", "best"], "paper, default"),
        (["{photos}", "--dtype", "float8"], "bfloat16"),
        (["{photos}", "--device", "abacus"], "abacus"),
        (["{photos}", "--attention", "eager"], "sdpa"),
        (["{photos}", "--set", "tau"], "NAME=VALUE"),
        (["{photos}", "--set", "tau=1"], "Unknown settings: tau (is it tau_t or tau_i?)"),
        (["{photos}", "--set", "guided_fitler=true"], "is it guided_filter?"),
        (["{photos}", "--set", "image-tokens=64"], "is it image_tokens?"),
        (["{photos}", "--set", "Crops=1"], "is it crops?"),
        (["{photos}", "--set", "=1"], "NAME=VALUE"),
        (["{photos}", "--set", "layers=[9]"], "attention_prior to false"),
        (["{photos}", "--preset", "paper", "--set", "layers=[9]"], "4 layers"),
        (["{photos}", "--set", 'selection="best"'], "vanilla"),
        (["{photos}", "--set", "tau_t=high"], "tau_t"),
        (["{photos}", "--batch-size", "0"], "batch-size"),
        (["{photos}", "--no-such-flag"], "No such option"),
        (["{photos}", "--modle", "x"], "--model"),
    ],
)
def test_a_wrong_argument_is_explained_with_exit_code_2(
    arguments: list[str], words: str, photos: Path, tmp_path: Path
) -> None:
    filled = [argument.format(photos=photos) for argument in arguments]
    code, output = flawsight("inspect", *filled, "--out", tmp_path / "run")
    assert code == 2
    assert words in " ".join(output.replace("│", " ").split())
    assert "Traceback" not in output


def test_an_empty_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, output = flawsight("inspect", tmp_path / "empty", "--out", tmp_path / "run")
    assert code == 2
    assert "holds no image" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", [[], ["inspect"]])
def test_help_works_and_shows_examples(verb: list[str]) -> None:
    code, output = flawsight(*verb, "--help")
    assert code == 0
    assert "inspect" in output
    if verb:
        assert "flawsight inspect photos/" in output


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_keeps_what_is_finished(
    stop: signal.Signals, photos: Path, tmp_path: Path
) -> None:
    count, run = 16, tmp_path / "run"
    for index in range(4, count):
        (photos / f"{index}.png").write_bytes((photos / "0.png").read_bytes())
    log = tmp_path / "log"
    words = ("inspect", str(photos), "--out", str(run), "--batch-size", "1", *FEW_OPTIONS)
    process = Forked(log, command, *words)
    try:
        rows = run / "inspections.jsonl"
        while not rows.exists() or not rows.stat().st_size:
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        process.send_signal(stop)
        assert process.wait(300) == 130, log.read_text()
    finally:
        process.kill()
    message = log.read_text()
    assert "run the same command again" in message
    assert "Traceback" not in message
    finished = read_rows(run)
    assert 1 <= len(finished) < count
    assert (run / "report.html").exists()
    code, output = flawsight("inspect", photos, "--out", run, "--quiet", *FEW_OPTIONS)
    assert code == 0
    assert f"{len(finished)} were done before" in output
    assert read_rows(run)[: len(finished)] == finished
    assert len(read_rows(run)) == count


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept() -> None:
    """Arrays of 32 MiB, one after the other: new pages for each, or the same again."""
    script = """
import resource, numpy
from flawsight.cli.shell import keep_freed_memory
{}
for _ in range(10):
    numpy.ones(1 << 22)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(1 << 22)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    faults = [
        int(subprocess.check_output([sys.executable, "-c", script.format(line)], env=plain))
        for line in ("", "keep_freed_memory()")
    ]
    assert faults[1] < faults[0] / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_threads_that_share_pools_leave_less_memory_behind() -> None:
    """Eight threads alive at once, of which one after the other takes and frees 16 MiB."""
    script = """
import threading, numpy, psutil
from flawsight.cli.shell import keep_freed_memory, share_memory_pools
keep_freed_memory()
{}
alive, turn = threading.Barrier(8), threading.Lock()
def work():
    alive.wait()
    with turn:
        [numpy.ones(1 << 14) for _ in range(128)]
    alive.wait()
before = psutil.Process().memory_info().rss
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(psutil.Process().memory_info().rss - before)
"""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    kept = [
        int(subprocess.check_output([sys.executable, "-c", script.format(line)], env=plain))
        for line in ("", "share_memory_pools()")
    ]
    assert kept[1] < kept[0] / 2
    assert kept[1] < 40 << 20
