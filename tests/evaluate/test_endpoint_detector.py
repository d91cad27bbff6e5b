"""The endpoint detector against a real HTTP server that answers with the bundled model."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flawsight import Inspector
from flawsight.endpoint.answer_cache import AnswerCache
from flawsight.endpoint.completion import Answer
from flawsight.errors import (
    AnswerError,
    DetectorError,
    FlawsightError,
    ImageError,
    MissingExtraError,
    SettingsError,
)
from flawsight.evaluate.detectors.endpoint import EndpointDetector
from flawsight.evaluate.detectors.protocol import Prediction
from flawsight.evaluate.detectors.spec import open_detector, parse_spec
from flawsight.io.find_images import find_images
from flawsight.io.images import read_image
from flawsight.mllm.encode import encode_prompts
from flawsight.prompt import INSTRUCTION, QUESTION
from helpers.bundled import FEW_PAPER
from helpers.chat_server import ChatServer, chat_server

SAMPLES = find_images([Path(__file__).parents[2] / "samples/*.jpg"])
KEY = "sk-very-secret"


def by_brightness(image: Image.Image) -> str:
    """Answer without a model: a bright image is defective."""
    value = round(float(np.asarray(image).mean()))
    if value > 127:
        return f"<think>A scratch, {value}.</think><answer>Yes</answer>"
    return f"<think>No defect is visible, {value}.</think><answer>No</answer>"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture(scope="module")
def running() -> Iterator[ChatServer]:
    with chat_server(by_brightness) as running:
        yield running


@pytest.fixture
def server(running: ChatServer) -> ChatServer:
    """The running server as if it were new."""
    running.forget()
    return running


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Ten images whose brightness tells which is which, every second defective."""
    paths = []
    for index in range(10):
        value = 20 + index if index % 2 else 200 + index
        paths.append(tmp_path / f"{index}.png")
        # Two halves, as one colour is refused.
        halves = np.repeat(np.uint8([[value - 20, value + 20]]), 4, axis=1).repeat(6, axis=0)
        Image.fromarray(halves).convert("RGB").save(paths[-1])
    return paths


def detector(server: ChatServer, **options: Any) -> EndpointDetector:
    return EndpointDetector("tester", server.base_url, **options)


def predictions(outcomes: list[Prediction | FlawsightError]) -> list[Prediction]:
    assert all(isinstance(outcome, Prediction) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]


def test_the_scores_are_those_of_the_inspector(
    tmp_path: Path, answered_samples: list[Path]
) -> None:
    inspector = Inspector.from_pretrained(device="cpu", settings=FEW_PAPER)
    expected = inspector(list(answered_samples))
    model, tokenizer = inspector.mllm.model, inspector.mllm.processor.tokenizer

    def respond(image: Image.Image) -> dict[str, Any]:
        inputs = encode_prompts(inspector.mllm, [image], inspector.settings).inputs
        made = model.generate(
            **inputs, max_new_tokens=100, output_logits=True, return_dict_in_generate=True
        )
        ids = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        content = []
        for token, logits in zip(ids, made.logits, strict=True):
            chances = logits[0].log_softmax(-1)
            likeliest = [written(i, chances) for i in chances.topk(20).indices.tolist()]
            content.append(written(token, chances) | {"top_logprobs": likeliest})
        return {
            "content": tokenizer.decode(ids, skip_special_tokens=True),
            "logprobs": content[:-1],
        }

    def written(token: int, chances: Any) -> dict[str, Any]:
        return {"token": tokenizer.decode([token]), "logprob": float(chances[token])}

    with chat_server(respond) as server:
        scored = detector(server, logprobs=True, timeout=300, cache=tmp_path)
        found = predictions(scored.predict(answered_samples))
        assert server.requests[0]["top_logprobs"] == 20
        again = predictions(scored.predict(answered_samples))
        assert len(server.requests) == len(answered_samples)
        [unscored] = predictions(detector(server).predict(SAMPLES[:1]))
    assert [p.pred_score for p in found] == pytest.approx(
        [e.pred_score for e in expected], abs=1e-4
    )
    assert [p.pred_score for p in again] == [p.pred_score for p in found]
    assert [p.pred_label for p in found] == [e.pred_label for e in expected]
    assert [p.explanation for p in found] == [e.explanation for e in expected]
    assert unscored.pred_score is None
    assert all(p.anomaly_map is None for p in found)


def test_the_server_gets_the_question_and_the_upright_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "sideways.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    seen: list[Image.Image] = []

    def respond(image: Image.Image) -> str:
        image.load()
        seen.append(image)
        return by_brightness(image)

    with chat_server(respond) as server:
        detector(server).predict([path])
        detector(server, temperature=None).predict([path])
    sent = seen[0]
    assert sent.size == (20, 30)
    assert np.array_equal(np.asarray(sent), np.asarray(read_image(path)))
    assert sent.format == "PNG"
    first, second = server.requests
    [message] = first["messages"]
    image, text = message["content"]
    assert message["role"] == "user"
    assert text == {"type": "text", "text": f"{QUESTION} {INSTRUCTION}"}
    assert image["image_url"].keys() == {"url"}
    assert (first["model"], first["max_tokens"], first["temperature"]) == ("tester", 512, 0)
    assert "temperature" not in second


def test_order_is_kept_and_one_bad_image_stops_nothing(
    server: ChatServer, images: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    given = [*images[:3], broken, *images[3:]]
    outcomes = detector(server, concurrency=5).predict(given)
    assert isinstance(outcomes.pop(3), ImageError)
    found = predictions(outcomes)
    assert [p.pred_label for p in found] == [index % 2 == 0 for index in range(10)]
    for index, prediction in enumerate(found):
        value = 20 + index if index % 2 else 200 + index
        assert prediction.explanation is not None
        assert prediction.explanation.endswith(f", {value}.")
        assert prediction.contradiction is False
        assert prediction.seconds > 0
    assert len(server.requests) == 10


@pytest.mark.parametrize(
    ("fault", "requests"), [("429", 2), ("500", 2), ("503", 2), ("timeout", 2)]
)
def test_what_passes_is_tried_again(
    server: ChatServer, images: list[Path], fault: str, requests: int
) -> None:
    server.faults.append(fault)
    [outcome] = detector(server, timeout=1.5 if fault == "timeout" else 30).predict(images[:1])
    assert isinstance(outcome, Prediction)
    assert len(server.requests) == requests


def test_the_server_says_when_to_try_again(server: ChatServer, images: list[Path]) -> None:
    server.faults.append("429")
    server.retry_after = "1"
    predictions(detector(server).predict(images[:1]))
    # Left to itself, the client would wait half a second at most.
    assert server.arrivals[1] - server.arrivals[0] > 0.9


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("429", DetectorError, "429"),
        ("500", DetectorError, "500"),
        ("timeout", DetectorError, "no answer within 1.5 s"),
        ("malformed", DetectorError, "JSON"),
        ("not a completion", DetectorError, "no chat completion"),
        ("400", DetectorError, "as ordered"),
        ("cut off", AnswerError, "max_tokens"),
    ],
)
def test_what_does_not_pass_fails_one_image_only(
    server: ChatServer, images: list[Path], fault: str, kind: type[FlawsightError], words: str
) -> None:
    server.faults.append(fault)
    first, second = detector(
        server, timeout=1.5 if fault == "timeout" else 30, retries=0, concurrency=1
    ).predict(images[:2])
    assert type(first) is kind
    assert words in str(first)
    assert KEY not in str(first)
    assert isinstance(second, Prediction)


@pytest.mark.parametrize("text", ["The part looks fine.", "", "<think>a <answer>maybe</answer>"])
def test_an_answer_without_yes_or_no(text: str, images: list[Path]) -> None:
    with chat_server(lambda image: text) as server:
        [outcome] = detector(server).predict(images[:1])
    assert isinstance(outcome, AnswerError)


def test_reasoning_that_the_server_sends_apart_is_the_explanation(images: list[Path]) -> None:
    message = {"content": "<answer>Yes</answer>", "reasoning_content": "A dent."}
    with chat_server(lambda image: message) as server:
        [prediction] = predictions(detector(server).predict(images[:1]))
    assert (prediction.explanation, prediction.pred_label) == ("A dent.", True)


def test_a_message_in_parts_is_no_crash(images: list[Path]) -> None:
    with chat_server(lambda image: {"content": [{"type": "text", "text": "Yes"}]}) as server:
        [outcome] = detector(server).predict(images[:1])
    assert isinstance(outcome, DetectorError)


def test_an_answer_alone_has_no_explanation(images: list[Path]) -> None:
    with chat_server(lambda image: "No.") as server:
        [prediction] = predictions(detector(server).predict(images[:1]))
    assert prediction.pred_label is False
    assert prediction.explanation is None
    assert prediction.contradiction is None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("401", "key"),
        ("403", "key"),
        ("403 model_not_found", "Name a model"),
        ("403 You are not allowed to request logprobs from this model", "Leave out logprobs"),
        ("400 as Gemini", "Check the key"),
        ("404", "base_url"),
        ("400 unsupported_value", "temperature=null"),
        ("429 insufficient_quota", "credit"),
    ],
)
def test_what_every_image_would_meet_is_raised(
    server: ChatServer, images: list[Path], fault: str, words: str
) -> None:
    server.faults.extend([fault] * 20)
    with pytest.raises(DetectorError, match=words) as caught:
        detector(server, concurrency=2, retries=0).predict(images)
    assert KEY not in str(caught.value)
    # Nor does a traceback show what the server said.
    assert caught.value.__suppress_context__
    assert len(server.requests) < len(images)


def test_a_cached_answer_needs_no_request(
    server: ChatServer, images: list[Path], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    prices = {"price_in": 2.0, "price_out": 10.0}
    first = predictions(detector(server, cache=cache, **prices).predict(images))
    assert len(server.requests) == 10
    again = predictions(detector(server, cache=cache, **prices).predict(images[::-1]))[::-1]
    assert len(server.requests) == 10
    assert [p.explanation for p in again] == [p.explanation for p in first]
    assert [p.seconds for p in again] == [p.seconds for p in first]
    # 1000 tokens in, 100 out.
    assert [p.details["cost"] for p in first] == pytest.approx([0.003] * 10)
    assert [p.details["cost"] for p in again] == [0] * 10
    assert {(p.details["input_tokens"], p.details["output_tokens"]) for p in again} == {(1000, 100)}
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert len(files) == 10
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    for path in files[:3]:
        path.write_text("{torn")
    for path in files[3:]:  # as they were written before there were scores
        kept = json.loads(path.read_text())
        del kept["pred_score"]
        path.write_text(json.dumps(kept))
    predictions(detector(server, cache=cache).predict(images))
    assert len(server.requests) == 13


def test_every_setting_that_matters_asks_anew_and_is_described(
    server: ChatServer, images: list[Path], tmp_path: Path
) -> None:
    matters: list[dict[str, Any]] = [
        {},
        {"max_tokens": 100},
        {"temperature": None},
        {"temperature": 0.5},
        {"logprobs": True},
        {"token_limit": "max_completion_tokens"},
    ]
    made = [detector(server, cache=tmp_path / "cache", **options) for options in matters]
    made.append(EndpointDetector("other", server.base_url, cache=tmp_path / "cache"))
    for one in made:
        predictions(one.predict(images[:1]))
    assert len(server.requests) == len(made)
    described = [json.dumps(one.about(), sort_keys=True) for one in made]
    assert len(set(described)) == len(made)
    assert KEY not in "".join(described)
    free = detector(server, name="x", concurrency=9, timeout=5, retries=1, price_in=1, budget=3)
    assert free.about() == made[0].about()
    assert (free.name, made[0].name) == ("x", "tester")


def test_the_same_image_many_times_at_once(
    server: ChatServer, images: list[Path], tmp_path: Path
) -> None:
    outcomes = detector(server, cache=tmp_path / "cache", concurrency=8).predict(images[:1] * 40)
    assert len({p.explanation for p in predictions(outcomes)}) == 1


def test_a_spent_budget_stops_and_what_is_answered_stays(
    server: ChatServer, images: list[Path], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"cache": tmp_path / "cache", "concurrency": 1, "price_in": 1.0}
    # An answer costs US$ 0.001: the fourth request starts with 0.003 spent, the fifth does not.
    with pytest.raises(DetectorError, match="budget"):
        detector(server, budget=0.0035, **options).predict(images)
    assert len(server.requests) == 4
    # The next run has its own budget and goes on where this one stopped.
    predictions(detector(server, budget=0.1, **options).predict(images))
    assert len(server.requests) == 10


def test_a_budget_needs_a_server_that_counts(server: ChatServer, images: list[Path]) -> None:
    server.usage = None
    [prediction] = predictions(detector(server).predict(images[:1]))
    assert prediction.details["input_tokens"] is None
    with pytest.raises(DetectorError, match="budget"):
        detector(server, budget=1, price_in=1).predict(images[:1])


def test_the_rate_is_kept_by_repeated_requests_too(server: ChatServer, images: list[Path]) -> None:
    server.faults.extend(["429"])
    predictions(detector(server, requests_per_minute=600).predict(images))
    # A tenth of a second lies between any two of the eleven requests.
    assert len(server.arrivals) == 11
    assert server.arrivals[-1] - server.arrivals[0] > 0.9


def test_no_connection_fails_each_image(images: list[Path]) -> None:
    closed = EndpointDetector("tester", "http://127.0.0.1:9/v1", retries=0)
    outcomes = closed.predict(images[:2])
    assert [type(outcome) for outcome in outcomes] == [DetectorError] * 2
    assert "no connection" in str(outcomes[0])


def test_a_key_is_needed_but_on_this_machine(
    server: ChatServer, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    for base_url in (None, "https://example.org/v1"):
        with pytest.raises(DetectorError, match="OPENAI_API_KEY"):
            EndpointDetector("gpt", base_url)
    with pytest.raises(DetectorError, match="MY_KEY"):
        EndpointDetector("gpt", "https://example.org/v1", api_key_env="MY_KEY")
    predictions(detector(server).predict(images[:1]))
    monkeypatch.setenv("MY_KEY", " other \n")
    detector(server, api_key_env="MY_KEY").predict(images[:1])
    assert [h["authorization"] for h in server.headers] == ["Bearer none", "Bearer other"]


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"max_tokens": 0},
        {"retries": -1},
        {"timeout": 0},
        {"requests_per_minute": 0},
        {"price_in": -1},
        {"budget": 1},
        {"budget": 0, "price_in": 1},
        {"logprobs": "False"},
        {"base_url": "localhost:8000/v1"},
        {"base_url": "http://me:sk-very-secret@localhost/v1"},
        {"base_url": "http://localhost/v1?key=sk-very-secret"},
    ],
)
def test_what_makes_no_sense_is_explained(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        EndpointDetector("tester", **{"base_url": "http://localhost/v1"} | options)
    assert KEY not in str(caught.value)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match="endpoint"):
        EndpointDetector("tester", "http://localhost/v1")


def test_the_spec_of_the_command_line(
    server: ChatServer, images: list[Path], tmp_path: Path
) -> None:
    text = f"openai:tester,base_url={server.base_url},max_tokens=64,temperature=null,name=mine"
    made = open_detector(parse_spec(text), tmp_path, batch_size=1)
    predictions(made.predict(images[:2]))
    assert made.name == "mine"
    assert server.requests[0]["max_tokens"] == 64
    assert len(list((tmp_path / "answers").rglob("*.json"))) == 2


def test_the_documented_models_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    page = (Path(__file__).parents[2] / "docs/benchmark.md").read_text()
    specs = re.findall(r"`(openai:[^`]+)`", page)
    models = {}
    for spec in specs:
        opened = open_detector(parse_spec(spec), tmp_path, 1)
        models[opened.about()["endpoint"]["model"]] = opened.about()["endpoint"]["parameters"]
    assert len(specs) == 7
    # OpenAI refuses reasoning models a temperature, logprobs and the old name of the limit.
    assert models["gpt-5-nano"] == {"max_completion_tokens": 4096}
    assert models["gpt-4.1"]["logprobs"] is True
    assert models["gemini-2.5-flash"] == {"max_tokens": 4096, "temperature": 0}


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DetectorError, match="Cannot store answers"):
        AnswerCache(tmp_path / "file").put("ab12", Answer("Yes", "stop", 1, 1, 0.1))
