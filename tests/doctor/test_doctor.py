"""Doctor on models that work, and on planted faults, each of which it names."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from flawsight.cgro import encoded_images
from flawsight.cgro.learner import Learner
from flawsight.doctor import attention, case, examine, resources, tokens, training
from flawsight.doctor.finding import Finding
from flawsight.inspector import Inspector
from flawsight.mllm import replay as replaying
from flawsight.mllm.batch_size import image_bytes
from flawsight.mllm.capture import AttentionCapture
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.settings import Settings
from helpers.bundled import FEW_OPTIONS, FEW_TOKENS
from helpers.checkpoints import photo
from helpers.command_line import flawsight, summary_of
from helpers.families import teach, write_chat_vlm

SETTINGS = Settings(image_tokens=16, max_new_tokens=40)
RESPONSE = "<think>A dark scratch near the left edge.</think><answer>Yes</answer>"
TRAINING = ["training step", "policy", "first KL", "vision gradients"]
NOTES = {"answers", "token selection", "agreement J", "sinks", "speed"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for index, size in enumerate([(112, 140), (84, 112)]):
        photo(*size, seed=index).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen2_5_vl")
    write_chat_vlm(folder, "qwen2_5_vl")
    return folder


@pytest.fixture
def patient(checkpoint: Path) -> MLLM:
    """A healthy model that says RESPONSE; a test may break it."""
    mllm = load_mllm(checkpoint, device="cpu")
    torch.manual_seed(0)
    head = mllm.model.get_output_embeddings().weight.data
    torch.nn.init.normal_(head[: min(mllm.processor.tokenizer.all_special_ids)], std=0.3)
    teach(mllm, RESPONSE)
    return mllm


def found(
    mllm: MLLM,
    photos: list[Path],
    settings: Settings = SETTINGS,
    train: bool = False,
    good: Sequence[Path] = (),
) -> dict[str, Finding]:
    inspector = Inspector(mllm, settings, prompt_photos=good)
    return {f.name: f for f in examine.examine(inspector, photos, train)}


def failed(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.ok is False}


def test_all_holds_on_the_bundled_model() -> None:
    code, output = flawsight("doctor", "--device", "cpu", "--train", "--json", *FEW_OPTIONS)
    report = summary_of(output)
    findings = {finding["name"]: finding for finding in report["findings"]}
    assert code == 0
    assert report["ok"]
    assert list(findings) == [*examine.CHECKS, *TRAINING]
    assert {name for name, each in findings.items() if each["ok"] is None} == NOTES
    assert len(report["photos"]) == 8
    assert report["model"]["name"] == "default"
    assert {"torch", "transformers"} <= set(report["versions"])
    answers = findings["answers"]["values"]
    assert answers["answered"] == answers["in_form"] == 8
    assert findings["eager attention"]["values"]["difference"] < 1e-5
    assert findings["image tokens"]["values"]["tokens"] == FEW_TOKENS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["qwen3_vl", "internvl", "llava_onevision"])
def test_all_holds_on_other_families(
    family: str, dtype: str, tmp_path: Path, photos: list[Path]
) -> None:
    write_chat_vlm(tmp_path, family)
    some = dataclasses.replace(SETTINGS, image_tokens=None, max_new_tokens=6)
    findings = found(load_mllm(tmp_path, device="cpu", dtype=dtype), photos, some)
    assert failed(findings) == set()
    assert "cut off at 6 tokens; try --set max_new_tokens=12" in findings["answers"].message


def test_all_holds_beside_a_good_photo(patient: MLLM, photos: list[Path]) -> None:
    findings = found(patient, photos[:1], train=True, good=photos[1:])
    assert failed(findings) == set()
    alone = found(patient, photos[:1])
    same = [findings[name].values for name in ("image tokens", "question tokens")]
    assert same == [alone[name].values for name in ("image tokens", "question tokens")]


def test_all_holds_with_an_adapter(patient: MLLM, photos: list[Path]) -> None:
    adapted = get_peft_model(patient.model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    with_it = dataclasses.replace(patient, model=adapted.eval())
    assert failed(found(with_it, photos)) == set()


def wrap(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, change: Callable[..., Any]
) -> None:
    """Let a function hand its result, and its arguments, to `change`."""
    real = getattr(place, name)
    monkeypatch.setattr(place, name, lambda *given, **named: change(real(*given, **named), *given))


def late_strings(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    def late(s: Any, *_: Any) -> Any:
        return dataclasses.replace(s, base=s.base + s.yes[:1], yes=s.yes[1:], no=s.no[1:])

    wrap(patch, tokens, "answer_strings", late)


def change_prompts(patch: pytest.MonkeyPatch, **changes: Callable[[Any], Any]) -> None:
    def changed(prompts: Any, *_: Any) -> Any:
        new = {name: change(getattr(prompts, name)) for name, change in changes.items()}
        return dataclasses.replace(prompts, **new)

    wrap(patch, case, "encode_prompts", changed)


def shifted_image(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    change_prompts(patch, columns=lambda columns: columns - 1)


def wrong_anomaly_word(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    change_prompts(patch, anomaly_tokens=lambda chosen: chosen.roll(1))


def other_question(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    change_prompts(patch, columns=lambda c: torch.cat([c[:, :-3], c[:, -3:] + 3], dim=1))


def scaled_rows(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    real = AttentionCapture.rows.fget
    assert real is not None
    patch.setattr(AttentionCapture, "rows", property(lambda self: 1.01 * real(self)))


def shifted_replay(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    real = case.replay

    def shifted(mllm: MLLM, images: Any, responses: Any, *more: Any, **named: Any) -> Any:
        moved = [ids if isinstance(ids, str) else [*ids[1:], ids[-1]] for ids in responses]
        return real(mllm, images, moved, *more, **named)

    patch.setattr(case, "replay", shifted)


def shifted_rows(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    """The text is right, and each token has the row of the next."""

    def shifted(traces: Any, *_: Any) -> Any:
        [trace] = traces
        rows = trace.image_attention.roll(-1, dims=0)
        return [dataclasses.replace(trace, image_attention=rows)]

    wrap(patch, attention, "generate", shifted)


def late_margins(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    real = replaying.answer_margins
    patch.setattr(
        replaying,
        "answer_margins",
        lambda mllm, inputs, ids, hidden, opening: real(
            mllm, inputs, ids, hidden.roll(-1, dims=1), opening
        ),
    )


def no_answers(_: pytest.MonkeyPatch, mllm: MLLM) -> None:
    mllm.model.generation_config.sequence_bias = None  # it says random words


def low_estimate(patch: pytest.MonkeyPatch, mllm: MLLM) -> None:
    wrap(patch, resources, "image_bytes", lambda count, *_: count / 10)


def raising(patch: pytest.MonkeyPatch, _: MLLM) -> None:
    def broken(_: Any) -> Finding:
        raise ValueError("the cable\nis loose")

    patch.setitem(examine.CHECKS, "sinks", broken)


FAULTS = [
    (late_strings, "answer tokens", "is not how the tokenizer writes it"),
    (shifted_image, "image tokens", "holds '<|vision_start|>'"),
    (wrong_anomaly_word, "question tokens", "['defects', 'anomalies'] are read as [' or', ' in']"),
    (other_question, "question tokens", "the question is read as"),
    (scaled_rows, "eager attention", "1 % off eager attention's (tolerance 0.1 %)"),
    (shifted_replay, "replay", "replay reads"),
    (shifted_rows, "replay", "do not trust crops"),
    (late_margins, "P(Yes)", "do not trust pred_score"),
    (no_answers, "answers", "0 of 2 answered"),
    (low_estimate, "memory", "more than the estimate"),
    (raising, "sinks", "ValueError: the cable is loose"),
]


@pytest.fixture
def measured_memory(monkeypatch: pytest.MonkeyPatch, patient: MLLM) -> None:
    """The peak of two photos, exactly as estimated but for the margin."""
    monkeypatch.setattr(resources, "PROCESS_BYTES", 0)
    real, peak = case.PeakMemory.__exit__, 2 * image_bytes(patient, SETTINGS)

    def leave(self: case.PeakMemory, *_: Any) -> None:
        real(self)
        self.peak_bytes = peak

    monkeypatch.setattr(case.PeakMemory, "__exit__", leave)


@pytest.mark.usefixtures("measured_memory")
@pytest.mark.parametrize(("plant", "name", "says"), FAULTS, ids=[f[0].__name__ for f in FAULTS])
def test_a_planted_fault_is_named(
    plant: Callable[[pytest.MonkeyPatch, MLLM], None],
    name: str,
    says: str,
    patient: MLLM,
    photos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert failed(found(patient, photos)) == set()
    plant(monkeypatch, patient)
    findings = found(patient, photos)
    assert name in failed(findings)
    assert says in findings[name].message
    assert list(findings) == list(examine.CHECKS)


def lenient(mllm: MLLM, *_: Any) -> MLLM:
    """The adapter starts at random."""
    for name, weight in mllm.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return mllm


def unfrozen(mllm: MLLM, *_: Any) -> MLLM:
    mllm.model.get_base_model().model.visual.blocks[0].mlp.up_proj.weight.requires_grad_(True)
    return mllm


def upside_down(encoded: Any, *_: Any) -> Any:
    return dataclasses.replace(encoded, features=encoded.features.flip(0))


TRAINING_FAULTS: list[tuple[Any, str, Callable[..., Any], str]] = [
    (training, "make_trainable", lenient, "first KL"),
    (training, "make_trainable", unfrozen, "vision gradients"),
    (encoded_images, "encode_image", upside_down, "policy"),
]


@pytest.mark.parametrize(("place", "name", "change", "item"), TRAINING_FAULTS)
def test_a_planted_fault_of_training_is_named(
    place: Any,
    name: str,
    change: Callable[..., Any],
    item: str,
    patient: MLLM,
    photos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrap(monkeypatch, place, name, change)
    assert failed(found(patient, photos, train=True)) == {item}


def test_a_training_without_a_gradient_is_named(
    patient: MLLM, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def equal(self: Any, *given: Any) -> Any:
        self.real = [dataclasses.replace(s, format=0.0) for s in Learner.scores(self, *given)]
        return self.real

    monkeypatch.setattr(training._Learner, "scores", equal)
    findings = found(patient, photos, train=True)
    assert failed(findings) == {"training step"}
    assert "nothing is learned" in findings["training step"].message


def test_a_model_that_cannot_train_fails_in_one_line(
    patient: MLLM, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "make_trainable", lambda *_: 1 / 0)
    findings = found(patient, photos, train=True)
    assert failed(findings) == {"training step"}
    assert list(findings) == [*examine.CHECKS, "training step"]


ADVICE = [
    ({"tau_t": 1.0}, "2 of 2 photos none does: the fallback takes the best token; τ_t = 1 alone"),
    ({"tau_i": 1.0, "fallback": "mean"}, "takes all tokens; τ_i = 1 alone selects none, try --set"),
    ({"tau_t": 1e-9, "tau_i": 1e-9}, "τ_t = 1e-09 selects all, try --set tau_t=0."),
    ({"tau_t": 0.0, "tau_i": 0.0}, "(quantiles .1, .5, .9)"),
]


@pytest.mark.parametrize(("thresholds", "says"), ADVICE)
def test_a_threshold_that_selects_all_or_none_has_advice(
    thresholds: dict[str, Any], says: str, patient: MLLM, photos: list[Path]
) -> None:
    message = found(patient, photos, dataclasses.replace(SETTINGS, **thresholds))[
        "token selection"
    ].message
    assert says in message
    if thresholds["tau_t" if "tau_t" in thresholds else "tau_i"] == 0:
        assert message.endswith(says)


def test_shares_of_attention_are_those_of_the_first_photo(
    patient: MLLM, photos: list[Path]
) -> None:
    values = found(patient, photos[:1])["sinks"].values
    inspection = Inspector(patient, SETTINGS)(photos[0])
    [trace] = (
        Inspector(patient, SETTINGS).trace(Inspector(patient, SETTINGS).prepare(photos[:1])).traces
    )
    maps = trace.image_attention.double()  # type: ignore[union-attr]
    inner = maps[:, 1:-1, 1:-1].sum() / maps.sum()
    assert values["border"] == pytest.approx(1 - float(inner), abs=1e-5)
    assert values["image"] == pytest.approx(float(maps.sum(dim=(1, 2)).mean()), abs=1e-5)
    assert 0 < values["first_token"] < 1 - values["image"]
    assert inspection.answer == "Yes"


def test_the_command_line_says_what_failed(tiny_checkpoint: Path, photos: list[Path]) -> None:
    code, output = flawsight(
        "doctor", photos[0].parent, "--model", tiny_checkpoint, "--device", "cpu",
        "--set", "image_tokens=16", "--set", "max_new_tokens=6",
    )  # fmt: skip
    lines = output.splitlines()
    assert code == 1
    assert "float32 on cpu, sdpa, preset default, 2 photos" in lines[0]
    assert [line.split()[0] for line in lines if "answers" in line] == ["FAILED"]
    assert any(line.startswith("ok     eager attention  ") for line in lines)
    assert lines[-1] == "7 checks hold, 1 failed."
    assert len(lines) == len(examine.CHECKS) + 2


def test_bad_input_has_its_own_exit_code(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "torn.png").write_bytes(photos[0].read_bytes()[:200])
    assert flawsight("doctor", tmp_path / "no.png")[0] == 2
    assert flawsight("doctor", tmp_path / "torn.png", "--device", "cpu")[0] == 2
    assert flawsight("doctor", "--model", tmp_path)[0] == 2
    assert flawsight("doctor", "--train", "--adapter", tmp_path)[0] == 2
