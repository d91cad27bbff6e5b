"""`flawsight watch` as a user meets it."""

import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from flawsight.cli import watch_view as view_module
from flawsight.cli.watch_view import status_lines, watch_view
from flawsight.runs.read import read_rows
from flawsight.watch.watch_status import WatchStatus
from flawsight_surfaces import render_pair
from helpers.bundled import FEW_OPTIONS
from helpers.command_line import flawsight
from helpers.forked import Forked, command
from helpers.waiting import wait_until


def test_watch_inspects_what_comes_until_it_is_stopped(tmp_path: Path) -> None:
    folder, out, log = tmp_path / "in", tmp_path / "run", tmp_path / "log"
    folder.mkdir()
    log.touch()
    words = ["watch", str(folder), "--out", str(out), "--move-to", str(tmp_path / "done")]
    words += ["--json"]
    process = Forked(log, command, *words, *FEW_OPTIONS)
    try:
        wait_until(lambda: "Watching" in log.read_text(), 60, log.read_text)
        for index, sample in enumerate(render_pair(np.random.default_rng(4), (96, 96))):
            Image.fromarray(sample.image).save(folder / f".{index}", "PNG")
            os.replace(folder / f".{index}", folder / f"{index}.png")
        wait_until(lambda: out.exists() and len(read_rows(out)) == 2, 60, log.read_text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
    printed = log.read_text()
    for row in read_rows(out):
        line = next(one for one in printed.splitlines() if Path(row["image"]).name in one)
        assert ("DEFECTIVE" in line) == row["pred_label"]
        assert Path(row["image"]).parent.name == ("defective" if row["pred_label"] else "good")
        assert Path(row["image"]).is_file()
    assert "2 images: " in printed
    summary = json.loads(next(one for one in printed.splitlines() if one.startswith("{")))
    assert summary["images"] == summary["good"] + summary["defective"] == 2
    assert summary["run"] == str(out)
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{t}/none"], "no folder"),
        (["{t}/in", "--out", "{t}/in"], "another --out"),
        (["{t}/in", "--move-to", "{t}"], "holds the watched folder"),
        (["{t}/in", "--on-defective", "no-such-program"], "no command"),
        (["{t}/in", "--on-defective", "ftp://a/b"], "give http://"),
        (["{t}/in", "--reference", "{t}/none.reference"], "none.reference"),
        (["{t}/in", "--category", "x"], "--calibration"),
        (["{t}/in", "--poll", "0"], "poll"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("A model is loaded.")

    monkeypatch.setattr("flawsight.inspector.load_mllm", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    code, output = flawsight("watch", *(word.format(t=tmp_path) for word in words))
    assert code == 2
    assert says in output
    assert "Traceback" not in output


ROW = {
    "image": "/line/a.png", "pred_label": True, "pred_score": 0.9, "answer": None,
    "explanation": "", "disagreements": [], "warnings": [], "evidence": {"reference": 0.9},
}  # fmt: skip


@pytest.mark.parametrize("terminal", [False, True])
def test_the_view_shows_rows_and_what_is_wrong(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=200, color_system=None)
    monkeypatch.setattr(view_module, "console", console)
    monkeypatch.setattr(view_module, "say", lambda line: console.print(line))
    status = WatchStatus()
    with watch_view(status, "/line", quiet=False) as on_row:
        status.add(ROW, 0.7)
        status.note("hook", "plc answers 503; trying again.")
        on_row(ROW)
        on_row(ROW)
    shown = text.getvalue()
    assert shown.count("DEFECTIVE") == 2
    assert "plc answers 503" in shown
    if terminal:
        assert "1 inspected: 1 defective" in shown
    else:
        assert shown.count("plc answers 503") == 1


def test_the_status_counts() -> None:
    status = WatchStatus(waiting=3)
    status.add(ROW, 0.5)
    status.add(ROW | {"pred_label": False}, 1.5)
    status.add({"image": "b", "error": "x"}, 1.0)
    (line,) = status_lines(status, "/line")
    assert "3 inspected: [red]1 defective[/], [green]1 good[/], 1 failed" in line
    assert "3 waiting" in line
    assert "1.0 s to a verdict" in line
