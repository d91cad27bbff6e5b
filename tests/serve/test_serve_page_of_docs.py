"""docs/serve.md, command by command: a verdict by curl, reviews, an adapter trained from them."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from helpers.bundled import FEW_OPTIONS
from helpers.exact_environment import ExactEnvironment
from helpers.training import SMALL

PAGE = (Path(__file__).parents[2] / "docs/serve.md").read_text().replace("\\\n", " ")
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def command(begins: str) -> str:
    """Return the page's only command that begins so, without its comment."""
    (found,) = re.findall(rf"^    ({re.escape(begins)}.*?)(?:  +#.*)?$", PAGE, flags=re.MULTILINE)
    return str(found)


@contextmanager
def serving(line: str, environment: ExactEnvironment, folder: Path) -> Iterator[str]:
    """Run a command that serves; yield host and port. SIGTERM must end it well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = [environment.bin / "python", "-m", *shlex.split(line), "--port", port]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*words, "--device", "cpu", *FEW_OPTIONS],
            cwd=folder,
            env=environment.environ,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 300
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/readyz").close()
                break
            except OSError:
                assert process.poll() is None, (folder / "serve.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
        process.terminate()
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()


def test_from_a_verdict_by_curl_to_a_better_adapter(
    answered_samples: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("part.jpg", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    for name, sample in zip(names, answered_samples, strict=False):
        shutil.copy(sample, name)

    def curl(line: str, address: str) -> Any:
        line = line.replace("127.0.0.1:8000", address)
        done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, text=True)
        return json.loads(done.stdout)

    extras = re.findall(r"pip install 'flawsight\[(\w+)\]'", PAGE)
    assert extras[:2] == ["serve", "train"]
    first = ExactEnvironment(tmp_path / ".first", extras[0])
    second = ExactEnvironment(tmp_path / ".second", ",".join(extras[:2]))

    with serving("flawsight serve", first, tmp_path) as address:
        results = []
        for begins in (
            "curl -F images=@part.jpg http",
            "curl -F images=@a.jpg",
            "curl -H 'Content-Type: application/json'",
        ):
            results += curl(command(begins), address)["results"]
        assert [one["name"] for one in results] == ["part.jpg", "a.jpg", "b.jpg", "part.jpg"]
        assert (results[1]["product"], set(results[1]["files"])) == ("bolt", {"overlay.png"})
        assert results[0]["explanation"] == results[3]["explanation"]
        for name in names[3:]:
            more = command("curl -F images=@part.jpg http").replace("part.jpg", name)
            results += curl(more, address)["results"]
        review = command("curl -X PUT")
        for index, one in enumerate(results):
            truth = index % 2 == 0
            word = "right" if one["pred_label"] == truth else "wrong"
            line = review.replace("/ID/", f"/{one['id']}/").replace("wrong", word)
            assert curl(line, address)["review"]["true_label"] is truth
        small = shlex.join(map(str, ["--steps", 1, *SMALL]))
        commands = [command("flawsight labels"), f"{command('flawsight train')} {small}"]
        # part.jpg was reviewed twice; the last review counts.
        assert "3 good, 2 bad" in second.run(commands, tmp_path)

    with serving(command("flawsight serve --adapter"), second, tmp_path) as address:
        (again,) = curl(command("curl -F images=@part.jpg http"), address)["results"]
        # Of the same small model, but with the adapter: another hash, kept with the inspection.
        assert again["model_sha256"] != results[0]["model_sha256"]
        page = json.load(urlopen(f"http://{address}/v1/inspections?reviewed=true"))
        assert len(page["inspections"]) == 6
