"""MMAD's questions reach the model as they are, and a run is resumed."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flawsight.data.mmad_questions import read_mmad
from flawsight.errors import DetectorError, FlawsightError, RunFolderError, SettingsError
from flawsight.evaluate.detectors.spec import parse_spec
from flawsight.evaluate.mmad.chat_responder import ChatResponder
from flawsight.evaluate.mmad.endpoint_responder import EndpointResponder
from flawsight.evaluate.mmad.mmad_run import read_mmad_runs, run_responder
from flawsight.evaluate.mmad.open_responder import check_answers, open_responder
from flawsight.evaluate.mmad.responder import ChoicePrompt
from flawsight.mllm.load import load_mllm
from helpers.chat_server import ChatServer, all_decoded, chat_server
from helpers.checkpoints import photo
from helpers.command_line import flawsight
from helpers.families import write_chat_vlm
from helpers.mmad import KEYS, PLACES, YES_NO, write_mmad


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mmad(tmp_path / "MMAD")


class Knowing:
    """Answers by a rule, and remembers what it was asked."""

    name, batch_size = "knowing", 5

    def __init__(self, answer: str = "Answer: D", stop_after: int = 99) -> None:
        self.answer, self.stop_after = answer, stop_after
        self.asked: list[ChoicePrompt] = []
        self.fail = ""

    def about(self) -> dict[str, Any]:
        return {"rule": self.answer}

    def respond(self, prompts: Sequence[ChoicePrompt]) -> list[str | FlawsightError]:
        if len(self.asked) >= self.stop_after:
            raise DetectorError("The budget is spent.")
        self.asked += prompts
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt: ChoicePrompt) -> str | FlawsightError:
        if self.fail and self.fail in str(prompt.images[-1]):
            return DetectorError("no answer")
        return "No." if prompt.options == YES_NO else self.answer


def ignore(_row: Any) -> None:
    pass


def test_every_question_is_asked_alone_with_its_images(root: Path, tmp_path: Path) -> None:
    responder = Knowing()
    folder = run_responder(tmp_path / "out", read_mmad(root, 1, "similar"), responder, ignore)
    assert folder == tmp_path / "out/mmad-1-shot-similar/knowing"
    assert [prompt.question for prompt in responder.asked[:3]] == [
        "Is there a defect?", "Where is the defect?", "Where is the label?",
    ]  # fmt: skip
    assert len(responder.asked) == 3 + 2 + 3 + 2
    assert responder.asked[0].images == (
        root / "MVTec-AD/bottle/train/good/1.png",
        root / KEYS[0],
    )
    [run] = read_mmad_runs(tmp_path / "out")
    assert (run.model, run.shots, run.templates) == ("knowing", 1, "similar")
    assert [(one.right, one.choice, one.mmad_choice) for one in run.answers[:3]] == [
        ("A", "B", "B"), ("D", "D", "D"), ("C", "D", "D"),
    ]  # fmt: skip


def test_a_run_is_resumed_and_failed_images_are_tried_again(root: Path, tmp_path: Path) -> None:
    questions = read_mmad(root)
    first = Knowing(stop_after=5)
    first.fail = KEYS[0]
    with pytest.raises(DetectorError, match="budget"):
        run_responder(tmp_path / "out", questions, first, ignore)
    [run] = read_mmad_runs(tmp_path / "out")
    assert [answer.failed for answer in run.answers] == [True] * 3 + [False] * 2
    second = Knowing()
    rows: list[Any] = []
    run_responder(tmp_path / "out", questions, second, rows.append)
    assert [row["key"] for row in rows] == [KEYS[0], KEYS[2], KEYS[3]]
    [run] = read_mmad_runs(tmp_path / "out")
    assert len(run.answers) == 10
    assert not any(answer.failed for answer in run.answers)
    third = Knowing()
    run_responder(tmp_path / "out", questions, third, ignore)
    assert third.asked == []


def test_another_model_or_other_questions_are_refused(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_responder(out, read_mmad(root), Knowing(), ignore)
    with pytest.raises(RunFolderError, match="rule"):
        run_responder(out, read_mmad(root), Knowing("Answer: A"), ignore)
    path = root / "mmad.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(RunFolderError, match="sha256"):
        run_responder(out, read_mmad(root), Knowing(), ignore)
    # Other shots have a folder of their own.
    run_responder(out, read_mmad(root, 0), Knowing(), ignore)
    assert [run.shots for run in read_mmad_runs(out)] == [0, 1]


def test_a_damaged_row_is_named(root: Path, tmp_path: Path) -> None:
    folder = run_responder(tmp_path, read_mmad(root), Knowing(), ignore)
    rows = (folder / "inspections.jsonl").read_text().splitlines()
    damaged = json.dumps({key: value for key, value in json.loads(rows[0]).items() if key != "key"})
    (folder / "inspections.jsonl").write_text("\n".join([damaged, *rows[1:], ""]))
    with pytest.raises(RunFolderError, match="damaged"):
        read_mmad_runs(tmp_path)
    with pytest.raises(RunFolderError, match="no answers"):
        read_mmad_runs(tmp_path / "none")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    write_chat_vlm(folder, "qwen2_5_vl")
    return folder


def test_a_chat_vlm_answers_in_batches_of_any_size(qwen: Path, root: Path) -> None:
    mllm = load_mllm(qwen, device="cpu", any_family=True)
    images = read_mmad(root).images
    prompts = [ChoicePrompt(one.text, one.options, (*image.templates, image.image))
               for image in images for one in image.questions]  # fmt: skip
    prompts[3] = ChoicePrompt("What?", YES_NO, (root / "none.png",))
    many, few = (
        ChatResponder("vlm", mllm, batch_size=size, max_new_tokens=4).respond(prompts)
        for size in (20, 3)
    )
    assert [isinstance(one, FlawsightError) for one in many] == [i == 3 for i in range(10)]
    assert "none.png" in str(many[3])
    assert [many[i] for i in range(10) if i != 3] == [few[i] for i in range(10) if i != 3]
    assert all(many)


def test_large_photos_are_reduced(qwen: Path, tmp_path: Path) -> None:
    photo(400, 300).save(tmp_path / "large.png")
    mllm = load_mllm(qwen, device="cpu", any_family=True)
    seen: list[tuple[int, int]] = []
    preprocess = mllm.processor.image_processor.preprocess

    def spy(images: Any, **options: Any) -> Any:
        seen.extend(image.size for image in images[0])
        return preprocess(images, **options)

    mllm.processor.image_processor.preprocess = spy
    prompt = ChoicePrompt("What?", PLACES, (tmp_path / "large.png",))
    for max_pixels in (None, 30_000):
        ChatResponder("vlm", mllm, max_new_tokens=1, max_pixels=max_pixels).respond([prompt])
    assert seen == [(300, 400), (150, 200)]


KEY = "sk-very-secret"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with chat_server(lambda image: "B") as running:
        yield running


def test_an_endpoint_gets_the_images_in_order_and_is_paid_once(
    server: ChatServer, root: Path, tmp_path: Path
) -> None:
    def responder() -> EndpointResponder:
        return EndpointResponder(
            "tester", server.base_url, cache=tmp_path / "answers", max_tokens=16, concurrency=1
        )

    questions = read_mmad(root)
    run_responder(tmp_path / "a", questions, responder(), ignore)
    assert len(server.requests) == 10
    body = server.requests[0]
    parts = body["messages"][0]["content"]
    kinds = [part["type"] for part in parts]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    sent = [image.tobytes() for image in all_decoded(body)]
    first = questions.images[0]
    assert sent == [Image.open(path).tobytes() for path in (*first.templates, first.image)]
    assert "Is there a defect?\nA. Yes.\nB. No.\n" in parts[4]["text"]
    assert (body["max_tokens"], body["temperature"]) == (16, 0)
    # Other questions about the same images are other requests, and none is sent twice.
    run_responder(tmp_path / "b", questions, responder(), ignore)
    assert len(server.requests) == 10
    assert {one.choice for run in read_mmad_runs(tmp_path / "a") for one in run.answers} == {"B"}
    described = (tmp_path / "a/mmad-1-shot-random/tester/run.json").read_text()
    assert KEY not in described


def test_a_request_that_fails_fails_its_image_alone(
    server: ChatServer, root: Path, tmp_path: Path
) -> None:
    responder = EndpointResponder("tester", server.base_url, concurrency=1, retries=0)
    server.faults.extend(["", "500"])
    run_responder(tmp_path, read_mmad(root), responder, ignore)
    [run] = read_mmad_runs(tmp_path)
    assert [answer.failed for answer in run.answers] == [True] * 3 + [False] * 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flawsight", "use vlm:MODEL"),
        ("texture", "no multiple-choice"),
        ("vlm", "lacks its model"),
        ("openai", "lacks its model"),
    ],
)
def test_detectors_without_answers_are_refused(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_answers(parse_spec(text))


def test_unknown_options_are_refused(qwen: Path, tmp_path: Path) -> None:
    for option, words in (("beams=2", "beams"), ("max_pixels=0", "max_pixels is 0"),
                          ("max_new_tokens=0", "max_new_tokens is 0")):  # fmt: skip
        with pytest.raises(SettingsError, match=words):
            open_responder(parse_spec(f"vlm:{qwen},device=cpu,{option}"), tmp_path, 4)


def test_the_command_asks_writes_tables_and_makes_them_again(
    qwen: Path, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    model = f"vlm:{qwen},device=cpu,max_new_tokens=2,name=tiny"
    arguments = ["--protocol", "mmad", "--data", root, "--detector", model, "--out", out]
    code, output = flawsight("bench", *arguments, "--limit", 1)
    assert code == 0, output
    assert "tiny, 1-shot (random)" in output
    assert "Anomaly Detection (balanced)" in output
    assert max(map(len, (line for line in output.splitlines() if str(out) not in line))) <= 80
    assert flawsight("bench", *arguments, "--shots", 0)[0] == 0
    first = (out / "mmad.md").read_text()
    assert "tiny, 0-shot" in first
    code, output = flawsight("bench", "--protocol", "mmad", "--from", out)
    assert (code, (out / "mmad.md").read_text()) == (0, first)
    (root / KEYS[0]).write_bytes(b"no image")
    code, output = flawsight("bench", *arguments[:-1], tmp_path / "other")
    assert code == 1
    assert "failed" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "takes one --data"),
        (["--data", "{root}"], "Name the models"),
        (["--data", "{root}", "--templates", "nice"], "random or similar"),
        (["--data", "{root}", "--detector", "flawsight"], "use vlm:MODEL"),
        (["--data", "{root}/VisA", "--detector", "vlm:x"], "no mmad.json"),
        (["--data", "{root}", "--shots", "3", "--detector", "vlm:x"], "random_templates, not 3"),
        (["--from", "{root}"], "holds no answers"),
    ],
)
def test_a_wrong_argument_is_explained_with_exit_code_2(
    arguments: list[str], words: str, root: Path, tmp_path: Path
) -> None:
    filled = [argument.format(root=root) for argument in arguments]
    code, output = flawsight("bench", "--protocol", "mmad", *filled, "--out", tmp_path / "run")
    assert code == 2
    assert words in " ".join(output.split())
    code, output = flawsight("bench", "--protocol", "chess", "--out", tmp_path / "run")
    assert (code, "detection or mmad" in " ".join(output.split())) == (2, True)
