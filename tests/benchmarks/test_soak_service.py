"""The soak of the service at a smoke size, on a stand-in for the model; no times are asserted."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import serve_load
from soak_service import COLUMNS, Soak, soak_service

from flawsight.serve.open_database import DATABASE

TESTS = Path(__file__).parents[1]
# A service with a stand-in for the model: the folder of the tests, the store and the port.
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from helpers.serving import serve
store = Path(sys.argv[2])
serve(store, store / "files", int(sys.argv[3]), 0.01, 32, 60.0)
"""


@pytest.mark.slow
def test_a_soak_meets_every_fault_and_names_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    popen, start = subprocess.Popen, Soak.start
    starts: list[dict[str, int]] = []

    def popen_stand_in(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        store, port = (command[command.index(name) + 1] for name in ("--store", "--port"))
        program = [sys.executable, "-c", PROGRAM, str(TESTS), store, port]
        return popen([*command[: command.index(sys.executable)], *program], **options)

    def lose_before_the_last_start(soak: Soak) -> None:
        starts.append(dict(soak.unintended))
        if len(starts) == 3:
            # As if a row, a photo and a review had been acknowledged before they were on the disk.
            reviewed = next(iter(soak.reviews))
            row, photo = [id for id in soak.acknowledged if id not in soak.reviews][:2]
            shutil.rmtree(soak.store / "files" / photo[-2:] / photo)
            with sqlite3.connect(soak.store / DATABASE) as database:
                database.execute("DELETE FROM inspections WHERE id = ?", (row,))
                database.execute(
                    "UPDATE inspections SET true_label = NULL WHERE id = ?", (reviewed,)
                )
        start(soak)

    monkeypatch.setattr(serve_load.subprocess, "Popen", popen_stand_in)
    monkeypatch.setattr(Soak, "start", lose_before_the_last_start)
    rows, note, missed = soak_service(60)
    assert starts == [{}, {}, {}]
    assert missed[:2] == ["lost inspection", "lost review"]
    assert not set(missed[2:]) - {str(row[0]) for row in rows}
    assert "'lost inspection': 2, 'lost review': 1" in note
    assert all(f"× {status}" in note for status in (200, 415, 422, 503))
    assert [len(row) for row in rows] == [len(COLUMNS)] * 6
    assert all(isinstance(cell, float | int) and cell > 0 for row in rows for cell in row[1:])
