"""The endpoint detector and the generator against `transformers serve`, as it is shipped."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flawsight import Inspector
from flawsight.endpoint.generator import ServedGenerator
from flawsight.errors import AnswerError, DetectorError
from flawsight.evaluate.detectors.endpoint import EndpointDetector
from flawsight.evaluate.detectors.protocol import Prediction
from flawsight.evaluate.detectors.spec import open_detector, parse_spec
from flawsight.io.find_images import find_images
from flawsight.mllm import processor
from flawsight.settings import Settings
from helpers.bundled import FEW, FEW_TOKENS, copy_of_few_tokens

SAMPLES = find_images([Path(__file__).parents[2] / "samples/*.jpg"])
# The command itself, but for its console script, which in 5.17 also imports the undeclared
# `requests` for another command.
SERVE = "import typer; from transformers.cli.serve import Serve; typer.run(Serve)"


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the bundled model, called "bundled"."""
    folder = tmp_path_factory.mktemp("served")
    model = copy_of_few_tokens(folder / "bundled")
    # The stock processor needs torchvision; a checkpoint may bring its own.
    shutil.copy(processor.__file__, model / "processor.py")
    config = json.loads((model / "processor_config.json").read_text())
    config["auto_map"] = {"AutoProcessor": f"processor.{processor.ImageProcessor.__name__}"}
    (model / "processor_config.json").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"bundled --trust-remote-code --device cpu --host 127.0.0.1 --port {port}"
    environment = os.environ | {
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *options.split()],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.1)
        else:
            return


def test_the_answers_are_those_of_the_inspector(
    base_url: str, tmp_path: Path, answered_samples: list[Path]
) -> None:
    spec = f"openai:bundled,base_url={base_url},timeout=120,price_in=1,price_out=10,budget=1"
    detector = open_detector(parse_spec(spec), tmp_path, 1)
    found = detector.predict(answered_samples)
    settings = Settings(image_tokens=FEW_TOKENS)  # its verdict is the answer
    expected = Inspector.from_pretrained(device="cpu", settings=settings)(answered_samples)
    for outcome, inspection in zip(found, expected, strict=True):
        assert isinstance(outcome, Prediction), outcome
        assert outcome.explanation == inspection.explanation
        assert outcome.pred_label == inspection.pred_label
        assert outcome.contradiction == inspection.contradiction
        counts = outcome.details["input_tokens"], outcome.details["output_tokens"]
        # The image's tokens, give or take its aspect, and the question's.
        assert FEW_TOKENS < counts[0] < FEW_TOKENS + 75
        assert outcome.details["cost"] == pytest.approx((counts[0] + 10 * counts[1]) / 1e6)
    assert {outcome.pred_label for outcome in found if isinstance(outcome, Prediction)} == {
        True,
        False,
    }


def test_its_texts_replayed_here_are_the_inspections_made_here(
    base_url: str, answered_samples: list[Path]
) -> None:
    own = Inspector.from_pretrained(device="cpu", settings=FEW)
    generator = ServedGenerator(base_url, "bundled")
    served = Inspector(own.mllm, FEW, prior=own.prior, generator=generator)
    for inspection, expected in zip(
        served(answered_samples[:4]), own(answered_samples[:4]), strict=True
    ):
        assert inspection.explanation == expected.explanation
        assert inspection.pred_score == pytest.approx(expected.pred_score, abs=1e-4)
        np.testing.assert_allclose(inspection.anomaly_map, expected.anomaly_map, atol=1e-4)


def test_it_cuts_off_ignores_and_refuses(base_url: str) -> None:
    [cut] = EndpointDetector("bundled", base_url, max_tokens=5).predict(SAMPLES[:1])
    assert isinstance(cut, AnswerError)
    assert "max_tokens" in str(cut)
    [unscored] = EndpointDetector("bundled", base_url, logprobs=True).predict(SAMPLES[:1])
    assert isinstance(unscored, Prediction)
    assert unscored.pred_score is None
    [refused] = EndpointDetector("other", base_url).predict(SAMPLES[:1])
    assert isinstance(refused, DetectorError)
    assert "pinned to 'bundled'" in str(refused)
