"""Text from a real server on loopback, attention by local replay."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from flawsight.cli import app
from flawsight.endpoint.generator import ServedGenerator
from flawsight.errors import AnswerError, DetectorError
from flawsight.inspection import Inspection
from flawsight.inspector import Inspector
from flawsight.io.find_images import find_images
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import MLLM
from flawsight.mllm.replay import replay
from flawsight.runs.read import read_description, read_rows
from flawsight.settings import PRESETS, Settings
from helpers.bundled import FEW, FEW_OPTIONS
from helpers.chat_server import ChatServer, all_decoded, chat_server, decoded
from helpers.checkpoints import photo
from helpers.generating import generate

SAMPLES = find_images([Path(__file__).parents[2] / "samples/*.jpg"])[:3]


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector.from_pretrained(device="cpu", settings=FEW)


@pytest.fixture
def server(inspector: Inspector) -> Iterator[ChatServer]:
    """A server of the bundled model."""

    def respond(image: Image.Image) -> str:
        [trace] = generate(inspector.mllm, [image.convert("RGB")], inspector.settings)
        return trace.text

    with chat_server(respond) as running:
        yield running


def test_the_command_says_what_it_says_without_a_server(
    server: ChatServer, answered_samples: list[Path], tmp_path: Path
) -> None:
    paths = [str(path) for path in answered_samples[:3]]
    for name, more in (("own", []), ("served", ["--generator", server.base_url])):
        more = more and [*more, "--generator-model", "bundled"]
        result = CliRunner().invoke(
            app, ["inspect", *paths, "--out", str(tmp_path / name), *FEW_OPTIONS, *more]
        )
        assert result.exit_code == 0, result.output
    own, served = read_rows(tmp_path / "own"), read_rows(tmp_path / "served")
    for row, other in zip(own, served, strict=True):
        assert row["explanation"] == other["explanation"]
        assert row["pred_score"] == pytest.approx(other["pred_score"], abs=1e-4)
        assert [token["S_I"] for token in row["tokens"]] == pytest.approx(
            [token["S_I"] for token in other["tokens"]], abs=1e-4
        )
        maps = [
            np.load(tmp_path / n / r["anomaly_map"])["anomaly_map"]
            for n, r in (("own", row), ("served", other))
        ]
        np.testing.assert_allclose(*maps, atol=2e-3)
    assert len(server.requests) == len(served)
    request = server.requests[0]
    assert request["model"] == "bundled"
    assert request["max_tokens"] == FEW.max_new_tokens
    assert read_description(tmp_path / "served")["generator"] == {
        "url": server.base_url,
        "model": "bundled",
    }


def test_a_failed_request_is_one_image_s_and_a_refusal_is_all_s(
    server: ChatServer, inspector: Inspector, answered_samples: list[Path]
) -> None:
    generator = ServedGenerator(server.base_url, "bundled", retries=0, concurrency=1)
    served = Inspector(inspector.mllm, FEW, generator=generator)
    server.faults.extend(["", "500", "malformed"])
    first, *failed = served.inspect_batch(answered_samples[:3])
    assert isinstance(first, Inspection)
    assert all(isinstance(outcome, DetectorError) for outcome in failed)
    server.faults.append("404")
    with pytest.raises(DetectorError, match="knows no model 'bundled'"):
        served.inspect_batch(answered_samples[:1])


def test_an_image_token_in_a_text_is_that_image_s_error(
    inspector: Inspector,
) -> None:
    token = inspector.mllm.processor.image_token
    with chat_server(lambda _: f"<think>{token}</think><answer>Yes</answer>") as running:
        served = Inspector(inspector.mllm, FEW, generator=ServedGenerator(running.base_url, "any"))
        [outcome] = served.inspect_batch(SAMPLES[:1])
    assert isinstance(outcome, AnswerError)


@pytest.mark.parametrize("size", [(300, 200), (1200, 90), (50, 61)])
@pytest.mark.parametrize(
    "settings",
    [*(Settings(image_tokens=tokens) for tokens in (None, 12, 225)), Settings(image_grid=(3, 5))],
)
def test_the_server_is_sent_the_size_that_replay_sees(
    size: tuple[int, int], settings: Settings, tiny_mllm: MLLM
) -> None:
    image = Image.new("RGB", size)
    processor = tiny_mllm.processor
    sent = tiny_mllm.family.as_seen(processor, image, settings)
    # What stock preprocessing, which is the server's, makes of it.
    [(_, height, width)] = processor.image_processor([sent])["image_grid_thw"].tolist()
    merge = processor.image_processor.merge_size
    [grid] = encode_prompts(tiny_mllm, [image], settings).grids
    assert grid.shape == (height // merge, width // merge)
    assert settings.image_grid in (None, grid.shape)


def test_the_image_on_the_way_keeps_its_pixels(server: ChatServer, inspector: Inspector) -> None:
    image = Image.open(SAMPLES[0]).convert("RGB")
    generator = ServedGenerator(server.base_url, "bundled")
    settings = Settings(image_tokens=100)
    generator(inspector.mllm, [image], settings, [7])
    sent = decoded(server.requests[0])
    mllm = inspector.mllm
    assert np.array_equal(sent, mllm.family.as_seen(mllm.processor, image, settings))
    assert server.requests[0]["seed"] == 7


def test_good_photos_are_sent_before_the_image_and_replayed(tiny_mllm: MLLM) -> None:
    settings = replace(PRESETS["paper"], image_grid=None, image_tokens=12, max_new_tokens=12)
    good, images = [photo(80, 60, 5), photo(70, 90, 6)], [photo(90, 60, 1), photo(64, 64, 2)]
    texts = [f"<think>A dark {word}.</think><answer>Yes</answer>" for word in ("scratch", "dent")]
    expected = replay(tiny_mllm, images, texts, settings, photos=good)
    scale = partial(tiny_mllm.family.as_seen, tiny_mllm.processor, settings=settings)
    by_size = {scale(image).size: text for image, text in zip(images, texts, strict=True)}
    with chat_server(lambda image: by_size[image.size]) as running:
        generator = ServedGenerator(running.base_url, "tiny")
        served = Inspector(tiny_mllm, settings, generator=generator, prompt_photos=good)
        found = served.trace(served.prepare(images)).traces
    for trace, other in zip(found, expected, strict=True):
        assert trace.text == other.text
        torch.testing.assert_close(trace.image_attention, other.image_attention, rtol=0, atol=1e-5)
    for request in running.requests:
        *before, image = all_decoded(request)
        assert image.size in by_size
        assert all(np.array_equal(a, scale(b)) for a, b in zip(before, good, strict=True))
        kinds = [part["type"] for part in request["messages"][0]["content"]]
        assert kinds == ["text", "image_url", "image_url", "text", "image_url", "text"]


def test_a_server_for_one_image_is_explained(tiny_mllm: MLLM) -> None:
    with chat_server(lambda _: "") as running:
        running.faults.append("400")
        running.refusal = "At most 1 image(s) may be provided in one prompt."
        generator = ServedGenerator(running.base_url, "tiny", retries=0)
        served = Inspector(tiny_mllm, generator=generator, prompt_photos=[photo(60, 60, 5)])
        with pytest.raises(DetectorError, match=r"limit-mm-per-prompt .{.image.: N}"):
            served([photo(90, 60, 1)])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--generator-model", "x"], "--generator URL"),
        (["--generator", "http://localhost:1/v1"], "--generator-model"),
        (["--generator", "nowhere", "--generator-model", "x"], "base_url is 'nowhere'"),
    ],
)
def test_wrong_arguments_are_explained(more: list[str], words: str, tmp_path: Path) -> None:
    arguments = ["inspect", str(SAMPLES[0]), "--out", str(tmp_path / "run"), *more]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
