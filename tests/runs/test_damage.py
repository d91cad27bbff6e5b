"""Damage to a run folder: no reader crashes, and one damaged item costs no other."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flawsight.calibration import calibrate
from flawsight.errors import FlawsightError, RunFolderError
from flawsight.evaluate.bench import read_detector_runs
from flawsight.evaluate.detectors.predictions import PredictionsDetector
from flawsight.export.write_export import FORMATS, export
from flawsight.report.write_report import write_report
from flawsight.runs.folder import RunFolder
from flawsight.runs.normal_scores import read_normal_scores
from flawsight.runs.place import check_place
from flawsight.runs.read import read_rows
from helpers.damage import damage
from helpers.made_runs import make_run

ABOUT = {"model": {"name": "made up", "sha256": "0" * 64}, "threshold": None}
NESTED = "[" * 100_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", [0.2, 0.7, 0.4])
    return tmp_path / "run"


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "inspections.jsonl").read_text().splitlines()]


def write_lines(run: Path, *lines: bytes | str | dict[str, Any]) -> None:
    encoded = [json.dumps(one) if isinstance(one, dict) else one for one in lines]
    content = [one.encode() if isinstance(one, str) else one for one in encoded]
    (run / "inspections.jsonl").write_bytes(b"\n".join(content) + b"\n")


def read_all(run: Path) -> list[Callable[[], Any]]:
    """All that reads a run, the one that changes it last."""
    out = run.parent / "exported"
    return [
        lambda: write_report(run, one_file=True),
        lambda: write_report(run, one_file=False),
        *(lambda to=to: export(run, to, out / to) for to in FORMATS),
        lambda: calibrate(read_normal_scores(run), 0.9),
        lambda: PredictionsDetector(run).predict([Path("/line/a/0000.png")]),
        lambda: read_detector_runs(run.parent),
        lambda: RunFolder(run, ABOUT, images=["/line/a/0000.png"]),
    ]


def survive(run: Path) -> None:
    for read in read_all(run):
        with suppress(FlawsightError):
            read()
    shutil.rmtree(run.parent / "exported", ignore_errors=True)


REGION = {"box": [0, 0, 1, 1], "area": 1, "score": 1, "phrases": "", "tokens": []}
DAMAGED_FIELDS = [
    {"tokens": [1]}, {"tokens": "abc"}, {"tokens": [{"start": 0}]}, {"tokens": None},
    {"regions": [{"box": 1}]}, {"regions": {"a": 1}}, {"pred_score": "a"}, {"pred_score": None,
    "pred_label": 1}, {"pred_score": float("nan")}, {"pred_score": 10**400}, {"pred_label": "yes"},
    {"image_size": [0, 5]}, {"image_size": [5]}, {"image_size": "60x80"}, {"image_size": [1e3, 2]},
    {"explanation": ["a"]}, {"disagreements": "verdict"}, {"disagreements": ["a/b"]}, {"answer": 3},
    {"anomaly_map": 5}, {"anomaly_map": "../x.npz"}, {"photo": "/etc/passwd"}, {"photo": ""},
    {"photo": "a/../../x"}, {"photo": "C:\\x.jpg"}, {"overlay": "..\\x.png"}, {"token_maps": "a\0"},
    {"file": 3}, {"file": {"bytes": 1}}, {"file": {"bytes": 1, "crc32": "0", "x": 1}}, {"error": 3},
    {"evidence": "words"}, {"evidence": {"words": "a"}}, {"evidence": {"reference": 1.5}},
    {"regions": [REGION | {"good": {"photo": "a.png"}}]}, {"map_layers": "../x.npz"},
    {"regions": [REGION | {"good": {"photo": "a\0", "box": [0, 0, 1, 1]}}]},
    {"regions": [REGION | {"good": {"photo": "a.png", "box": [0, 0, -1, 1]}}]},
    {"regions": [REGION | {"good": 3}]}, {"nearest_good": "/etc/passwd"},
    {"seconds": "1"}, {"map_peak": []}, {"sink_share": {}}, {"contradiction": "no"},
    {"regions": [REGION | {"counts": [10**9]}]},
]  # fmt: skip


@pytest.mark.parametrize("change", DAMAGED_FIELDS, ids=str)
def test_a_damaged_row_costs_its_own_image_and_is_named(change: dict, run: Path) -> None:
    first, second, third = lines_of(run)
    write_lines(run, first, second | change, third)
    rows = read_rows(run)
    assert ["error" in row for row in rows] == [False, True, False]
    assert rows[1]["image"] == second["image"]
    assert rows[1]["error"].startswith("This row is damaged")
    write_report(run)
    assert export(run, "csv").left_out == ((second["image"], rows[1]["error"]),)
    scores = read_normal_scores(run)
    assert (len(scores.pooled), scores.skipped) == (2, 1)
    folder = RunFolder(run, ABOUT)
    assert folder.finished == {first["image"], third["image"]}
    assert folder.damaged == 1
    assert len(read_rows(run)) == 2


@pytest.mark.parametrize(
    "line", [b"{bad", b"\xff\xfe", b"[1]", b"null", b'{"image": ""}', b'{"image": "a\\u0000"}',
             b'{"image": "\\ud800"}', NESTED.encode(), b'{"image": 3}', b"9" * 5000],
    ids=lambda line: str(line[:12]),
)  # fmt: skip
def test_a_torn_line_is_dropped_at_the_end_and_named_in_the_middle(line: bytes, run: Path) -> None:
    first, second, third = lines_of(run)
    write_lines(run, first, second, line, third)
    rows = read_rows(run)
    assert [row["image"] for row in rows if "error" not in row] == [
        one["image"] for one in (first, second, third)
    ]
    assert [row["image"] for row in rows if "error" in row] == ["inspections.jsonl, line 3"]
    survive(run)
    with (run / "inspections.jsonl").open("ab") as file:
        file.write(line)
    assert len(read_rows(run)) == 3
    assert len(RunFolder(run, ABOUT).finished) == 3


@pytest.mark.parametrize(
    "content", ["[]", "null", "{", NESTED, '{"model": 3}', '{"created": 1}', '{"versions": []}',
                '{"settings": "x", "format": 1}', '{"format": "two"}', '{"threshold": "low"}'],
    ids=lambda content: content[:30],
)  # fmt: skip
def test_a_damaged_description_is_named_with_the_remedy(content: str, run: Path) -> None:
    (run / "run.json").write_text(content)
    for read in (lambda: write_report(run), lambda: RunFolder(run, ABOUT)):
        with pytest.raises(RunFolderError, match=r"no readable run\.json: .*Put a copy back"):
            read()
    survive(run)


@pytest.mark.parametrize("content", ["{}", '{"model": "name"}', '{"model": null, "created": ""}'])
def test_a_description_may_lack_fields(content: str, run: Path) -> None:
    (run / "run.json").write_text(content)
    assert write_report(run).exists()
    assert export(run, "csv").images == 3


def npz(name: str, array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **{name: array})
    return content.getvalue()


def bomb() -> bytes:
    """A map whose header claims 40 GB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (100_000, 100_000)}
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("anomaly_map.npy", header.getvalue())
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\3\4 torn", bomb(), npz("other", np.zeros((60, 80))), npz("anomaly_map", np.zeros(9)),
     npz("anomaly_map", np.zeros((0, 80))), npz("anomaly_map", np.zeros((80, 60))),
     npz("anomaly_map", np.array([[None]], dtype=object)), npz("anomaly_map", np.array([["a"]]))],
    ids=range(9),
)  # fmt: skip
@pytest.mark.parametrize("one_file", [True, False])
def test_a_damaged_map_costs_its_own_image(content: bytes, one_file: bool, run: Path) -> None:
    first, second, third = lines_of(run)
    (run / "maps/bad.npz").write_bytes(content)
    write_lines(run, first, second | {"anomaly_map": "maps/bad.npz"}, third)
    page = write_report(run, one_file=one_file).read_text()
    assert "Cannot read the anomaly map maps/bad.npz" in page
    ((image, reason),) = export(run, "masks").left_out
    assert image == second["image"]
    assert "inspect its image again" in reason


@pytest.mark.parametrize("link", [True, False])
def test_no_reader_leaves_the_run_folder(link: bool, run: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (80, 60), "red").save(secret)
    original = tmp_path / "a.png"
    Image.new("RGB", (80, 60), "blue").save(original)
    first, second, third = lines_of(run)
    changed = [
        first | {"photo": "photos/x.jpg" if link else "../escaped.jpg", "image": str(original)},
        second | {"photo": str(tmp_path / "absolute.jpg"), "image": str(original) + "2"},
        third | ({"overlay": "overlays/y.png", "anomaly_map": "maps/z.npz"} if link else {}),
    ]
    if link:
        (run / "photos/x.jpg").symlink_to(secret)
        (run / "overlays/y.png").symlink_to(secret)
        (run / "maps/z.npz").symlink_to(run.parent / "z.npz")
        shutil.copy(run / third["anomaly_map"], run.parent / "z.npz")
    write_lines(run, *changed)
    before = set(tmp_path.iterdir())
    write_report(run, one_file=False)
    left_out = dict(export(run, "masks", run / "masks").left_out)
    assert before == set(tmp_path.iterdir())
    assert (changed[2]["image"] in left_out) == link
    assert not any("secret" in path.name for path in run.rglob("*"))
    if link:
        assert "leads out of the run folder" in left_out[changed[2]["image"]]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_survived(run: Path, data: st.DataObject, tmp_path: Path) -> None:
    copy = tmp_path / "damaged"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy / "run")
    shutil.rmtree(copy / "run/report", ignore_errors=True)
    files = sorted(path for path in (copy / "run").rglob("*") if path.suffix)
    path = data.draw(st.sampled_from(files), label="file")
    damage(data, path, lines="inspect" in path.name)
    survive(copy / "run")


# --- Processes


def test_a_run_killed_at_its_start_is_usable(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "maps").mkdir(parents=True)
    (run / ".run.json.4711").write_text("{")
    (run / "run.lock").touch()
    (run / "run.owner").write_text("{}")
    check_place(run)  # before the model is loaded, as the command line does
    RunFolder(run, ABOUT)
    for name in (".run.json.1", "overlays/.a-0.png.22", "maps/.a.npz.3", "report/thumbs/.x.jpg.4"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    RunFolder(run, ABOUT)
    assert not list(run.rglob(".*"))
    (tmp_path / "other/maps").mkdir(parents=True)
    (tmp_path / "other/maps/mine.txt").touch()
    with pytest.raises(RunFolderError, match="holds files but no run"):
        check_place(tmp_path / "other")
    with pytest.raises(RunFolderError, match="holds files but no run"):
        RunFolder(tmp_path / "other", ABOUT)


def test_a_second_process_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    run = tmp_path / "run"
    RunFolder(run, ABOUT)
    script = (
        "import sys; from pathlib import Path; from flawsight.runs.run_lock import lock_run\n"
        f"lock = lock_run(Path({str(run)!r})); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        with pytest.raises(RunFolderError, match=rf"in use by process {first.pid} on .* since 2"):
            RunFolder(run, ABOUT)
        RunFolder(run, ABOUT, rank=1)  # of the same launch
        first.kill()
    mine = RunFolder(run, ABOUT)
    again = RunFolder(Path(os.path.relpath(run)), ABOUT)  # the same process
    del mine, again
