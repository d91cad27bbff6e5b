"""`flawsight serve` keeps one set of OpenMP workers: with two, the model is a quarter slower."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.bundled import FEW_OPTIONS

# The verb itself; in place of a server, one photo in a thread of the model's.
PROGRAM = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
import flawsight.serve.app, flawsight.serve.server
from flawsight.cli import app

found = []

def serve_app(*_):
    with ThreadPoolExecutor(1) as model:
        model.submit(found[0], [Image.linear_gradient("L")]).result()
        print("threads", len(os.listdir("/proc/self/task")))

flawsight.serve.app.create_app = lambda inspect_batch, *_: found.append(inspect_batch)
flawsight.serve.server.serve_app = serve_app
app(["serve", "--device", "cpu", "--store", *sys.argv[1:]])
"""


def threads_with(workers: int, store: Path) -> int:
    # numpy's own workers are no part of this.
    own = {"OMP_NUM_THREADS": str(workers), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(store), *FEW_OPTIONS],
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("threads ")[1])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to count threads in")
@pytest.mark.skipif(os.cpu_count() == 1, reason="one core has no workers")
def test_only_the_models_thread_has_workers(tmp_path: Path) -> None:
    assert threads_with(2, tmp_path / "two") - threads_with(1, tmp_path / "one") == 1
