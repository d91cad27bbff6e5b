"""A watch that is killed again and again: no photo is lost, and none gets a second verdict."""

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from flawsight.runs.read import read_rows
from helpers.forked import Forked
from helpers.waiting import wait_until
from helpers.watching import photo, seen, watch_until_killed, web_server


@pytest.mark.parametrize("moved", [False, True])
def test_kills_lose_no_photo_and_give_no_second_verdict(tmp_path: Path, moved: bool) -> None:
    folder, out, log = tmp_path / "in", tmp_path / "run", tmp_path / "verdicts"
    done = tmp_path / "done"
    folder.mkdir()
    wanted: dict[str, tuple[str, bool]] = {}
    chance = random.Random(7)

    def write(count: int) -> None:
        for _ in range(count):
            number = len(wanted)
            defective = number % 3 == 0
            content = photo(number, defective)
            (folder / f".{number}").write_bytes(content)
            os.replace(folder / f".{number}", folder / f"{number}.png")
            wanted[f"{number}.png"] = (seen(content), defective)

    with web_server([500]) as (url, received):
        for _ in range(3):
            write(5)
            before = log.read_text().count("\n") if log.exists() else 0
            process = Forked(
                tmp_path / "log", watch_until_killed, str(folder), str(out), str(log),
                str(done) if moved else "", url,
            )  # fmt: skip
            try:
                wait_until(
                    lambda count=before: log.exists() and log.read_text().count("\n") > count,
                    30, (tmp_path / "log").read_text,
                )  # fmt: skip
                time.sleep(chance.random() * 0.1)
            finally:
                process.kill()
                process.wait()
        process = Forked(
            tmp_path / "log", watch_until_killed, str(folder), str(out), str(log),
            str(done) if moved else "", url,
        )  # fmt: skip
        try:
            defective = {name for name, (_, bad) in wanted.items() if bad}
            wait_until(
                lambda: (
                    len(read_rows(out)) == len(wanted)
                    and {Path(one["row"]["image"]).name for one in received} >= defective
                    and not (moved and any(folder.glob("*.png")))
                ),
                30, (tmp_path / "log").read_text,
            )  # fmt: skip
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, (tmp_path / "log").read_text()
        finally:
            process.kill()
    rows = read_rows(out)
    assert {Path(row["image"]).name: row["explanation"] for row in rows} == {
        name: pixels for name, (pixels, _) in wanted.items()
    }
    verdicts = Counter(json.loads(line)[0] for line in log.read_text().splitlines())
    assert max(verdicts.values()) == 1
    assert {Path(one["row"]["image"]).name for one in received} == defective
    if moved:
        kinds = {name: "defective" if bad else "good" for name, (_, bad) in wanted.items()}
        assert {path.name: path.parent.name for path in done.rglob("*.png")} == kinds
