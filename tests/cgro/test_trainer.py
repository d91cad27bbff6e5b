"""A whole training: its files, how it resumes, and that more processes change nothing."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from PIL.Image import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from flawsight.cgro import learner as learner_module
from flawsight.cgro.best_step import Outcome
from flawsight.cgro.checkpoint import load_checkpoint, save_checkpoint, training_state
from flawsight.cgro.learner import Learner
from flawsight.cgro.policy import make_trainable
from flawsight.cgro.score_rollout import Score
from flawsight.cgro.train_settings import (
    TRAIN_PRESETS,
    TrainSettings,
    upgraded_train_settings,
)
from flawsight.cgro.trainer import make_accelerator
from flawsight.cgro.validation import validation_metrics
from flawsight.errors import ModelError, RunFolderError, SettingsError
from flawsight.inspector import Inspector
from flawsight.io.files import write_atomically
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.prompt_photos import hash_prompt_photos
from flawsight.refine.attention_prior import FILE, encode_prior, measure_prior
from flawsight.runs.read import read_description
from helpers.checkpoints import photo
from helpers.forked import Forked, ranks
from helpers.training import INSPECTION, make_photos, mixed_score, read, run, weights

OUTCOMES = [
    Outcome(True, 0.9, True, False),
    Outcome(True, None, False, False),
    Outcome(False, 0.2, False, True),
    Outcome(False, 0.8, True, False),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos") / "line")


@pytest.fixture(scope="module")
def finished(tiny_checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    run(tiny_checkpoint, photos, out)
    return out


def test_a_training_leaves_what_it_promises(finished: Path, tiny_checkpoint: Path) -> None:
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert {
        "reward_mean", "reward_std", "zero_variance_groups", "entropy", "kl", "length"
    } <= set(rows[1])  # fmt: skip
    assert [row["step"] for row in rows if "validation_image_auroc" in row] == [0, 2, 4]
    assert rows[1]["kl"] == 0
    assert rows[4]["kl"] > 0
    for name in ("last", "best"):
        card = (finished / name / "README.md").read_text()
        assert card.startswith("---\n")
        assert "image-level labels only" in card
        assert '"learning_rate": 0.01' in card
        base = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint)
        PeftModel.from_pretrained(base, finished / name)
        Inspector.from_pretrained(tiny_checkpoint, adapter=finished / name, device="cpu")


def test_a_resumed_training_ends_in_the_same_bits(
    tiny_checkpoint: Path, photos: Path, finished: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "run"
    update, done = Learner.update, []

    def killed(self: Learner, rollouts: Any) -> Any:
        done.append(None)
        if len(done) == 4:
            raise KeyboardInterrupt
        return update(self, rollouts)

    monkeypatch.setattr(Learner, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_checkpoint, photos, out, save_every=2)
    assert torch.load(out / "checkpoint.pt")["step"] == 2
    torch.manual_seed(99)
    run(tiny_checkpoint, photos, out, save_every=2)
    expected = weights(finished)
    assert all(torch.equal(value, expected[name]) for name, value in weights(out).items())
    assert (out / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()


def test_good_photos_belong_to_a_training(
    photos: Path, finished: Path, tiny_checkpoint: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Resumed with the same, it ends in the same bits; with others, it is refused."""
    good: list[Image] = [photo(70, 50, 7)]
    few: dict[str, Any] = {"steps": 2, "images_per_step": 2, "candidates": 2, "features": "disk"}
    few |= {"validate_every": 0, "validation_images": 2, "overlays": 0}
    run(tiny_checkpoint, photos, tmp_path / "whole", prompt_photos=good, **few)
    about = read_description(tmp_path / "whole")
    assert about["prompt_photos_sha256"] == hash_prompt_photos(good)
    assert "prompt_photos_sha256" not in read_description(finished)
    assert "--prompt-photo GOOD" in (tmp_path / "whole" / "last" / "README.md").read_text()
    update, done = Learner.update, []

    def killed(self: Learner, rollouts: Any) -> Any:
        done.append(None)
        if len(done) == 2:
            raise KeyboardInterrupt
        return update(self, rollouts)

    monkeypatch.setattr(Learner, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_checkpoint, photos, tmp_path / "killed", prompt_photos=good, **few)
    for other in ([], [photo(70, 50, 8)]):
        with pytest.raises(RunFolderError, match="prompt_photos_sha256"):
            run(tiny_checkpoint, photos, tmp_path / "killed", prompt_photos=other, **few)
    run(tiny_checkpoint, photos, tmp_path / "killed", prompt_photos=good, **few)
    expected = weights(tmp_path / "whole")
    assert all(torch.equal(v, expected[n]) for n, v in weights(tmp_path / "killed").items())


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"shard": True},
        pytest.param({"shard": True, "gradient_checkpointing": True}, marks=pytest.mark.slow),
    ],
)
def test_two_processes_make_the_update_of_one(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings = settings | {"steps": 2}
    log = tmp_path / "log"
    training = partial(run, tiny_checkpoint, photos, tmp_path / "two", **settings)
    with ranks(log, training) as processes:
        for process in processes:
            assert process.wait(600) == 0, log.read_text()
    run(tiny_checkpoint, photos, tmp_path / "one", **settings)
    adapters = [
        load_file(tmp_path / name / "last/adapter_model.safetensors") for name in ("one", "two")
    ]
    torch.testing.assert_close(adapters[1], adapters[0], atol=2e-5, rtol=1e-3)
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-5, rtol=1e-3)
    one, two = (
        [json.loads(line) for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("one", "two")
    )
    for row, other in zip(one, two, strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-3)


def test_mixed_precision_with_checkpointing_and_features_on_disk(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    """In a process of its own, for accelerate keeps one precision a process."""
    settings = {
        "mixed_precision": "bf16", "gradient_checkpointing": True, "features": "disk", "steps": 2,
    }  # fmt: skip
    log = tmp_path / "log"
    process = Forked(log, partial(run, tiny_checkpoint, photos, tmp_path / "run", **settings))
    assert process.wait(600) == 0, log.read_text()
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())
    assert len(list((tmp_path / "run/features").glob("*.safetensors"))) > 2


def test_mlps_that_run_again_change_no_bit(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    for name, recompute in (("off", False), ("on", True)):
        run(tiny_checkpoint, photos, tmp_path / name, steps=1, recompute_mlps=recompute)
    expected = weights(tmp_path / "off")
    assert all(torch.equal(v, expected[n]) for n, v in weights(tmp_path / "on").items())


def test_gradient_checkpointing_makes_the_same_update(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    for name, checkpointing in (("off", False), ("on", True)):
        run(tiny_checkpoint, photos, tmp_path / name, steps=1, gradient_checkpointing=checkpointing)
    expected = weights(tmp_path / "off")
    for name, value in weights(tmp_path / "on").items():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=1e-3)


def test_r1_captures_nothing(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("attention was captured")

    monkeypatch.setattr("flawsight.cgro.shared_prompt.AttentionCapture", never)
    monkeypatch.setattr("flawsight.cgro.trainer.validate", lambda *_: OUTCOMES)
    run(tiny_checkpoint, photos, tmp_path / "run", reward="r1", steps=1)


def test_an_update_makes_what_is_rewarded_likelier(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same words of a normal and of a defective image: the label decides what is learned."""
    settings = TrainSettings(
        images_per_step=2, images_per_forward=2, candidates=4, kl_weight=0.0, learning_rate=1e-2,
        reward="r1", lora_rank=4,
    )  # fmt: skip
    monkeypatch.setattr(
        learner_module, "score_text", lambda text, y: Score(0.0, float((len(text) > 20) == y), 0.0)
    )
    mllm = make_trainable(load_mllm(tiny_checkpoint, device="cpu"), 4, 8, 0)
    accelerator = make_accelerator(settings, tmp_path, cpu=True)
    learner = Learner(mllm, INSPECTION, settings, accelerator, tmp_path)
    data = read(photos)
    images = [next(i for i in data.train if i.label == label) for label in (False, True)]
    (rollout,) = learner.rollouts(images, [0, 1])
    scores = learner.scores(rollout, None)
    rewards = torch.tensor([score.total for score in scores]).view(2, 4)
    assert (rewards.std(dim=1) > 0).all()

    def likelihood() -> torch.Tensor:
        with torch.no_grad():
            log_probs, _, _ = learner.forward(rollout.prompts, rollout.completions)
        means = (log_probs * rollout.completions.mask).sum(1) / rollout.completions.mask.sum(1)
        return means.view(2, 4)

    before = likelihood()
    learner.update([rollout])
    gain = (likelihood() - before) * (rewards - rewards.mean(dim=1, keepdim=True))
    assert (gain.sum(dim=1) > 0).all()


def test_zero_variance_groups_leave_the_kl_alone(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps_begun: list[None] = []
    update = Learner.update

    def counted(self: Learner, rollouts: Any) -> Any:
        steps_begun.append(None)
        return update(self, rollouts)

    def alike(text: str, label: bool) -> Score:
        """Candidates of normal images earn alike; in the second step, all do."""
        return mixed_score(text, label) if label and len(steps_begun) < 2 else Score(1.0, 0.0, 0.0)

    monkeypatch.setattr(Learner, "update", counted)
    _, steps = run(tiny_checkpoint, photos, tmp_path / "run", alike, steps=2)
    first, second = (row for step, row in steps if step)
    assert 0.5 <= first["zero_variance_groups"] < 1
    assert first["gradient_norm"] > 0
    assert second["zero_variance_groups"] == 1
    assert second["gradient_norm"] > 0
    assert second["loss"] == pytest.approx(0.04 * second["kl"], abs=1e-6)


def test_nan_stops_and_keeps_the_last_good_adapter(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    losses = learner_module.token_losses

    def broken(log_probs: torch.Tensor, *rest: Any) -> Any:
        found, kl = losses(log_probs, *rest)
        return found * (torch.nan if (out / "last").exists() else 1.0), kl

    monkeypatch.setattr(learner_module, "token_losses", broken)
    with pytest.raises(ModelError, match=r"NaN or infinite.*learning_rate"):
        run(tiny_checkpoint, photos, out)
    assert torch.load(out / "checkpoint.pt")["step"] == 1
    assert all(torch.isfinite(value).all() for value in weights(out).values())
    Inspector.from_pretrained(tiny_checkpoint, adapter=out / "last", device="cpu")


def test_exhausted_memory_names_the_settings(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Learner, "rollouts", exhausted)
    with pytest.raises(ModelError, match=r"images_per_forward.*gradient_checkpointing"):
        run(tiny_checkpoint, photos, tmp_path / "run", validation_images=2)


def test_a_full_disk_keeps_the_earlier_checkpoint(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    state = training_state(model, optimizer)
    save_checkpoint(tmp_path, state, 1, [])

    def full(path: Path, content: Any) -> None:
        if len(content) > 100:
            raise OSError(28, "No space left on device")
        write_atomically(path, content)

    monkeypatch.setattr("flawsight.cgro.checkpoint.write_atomically", full)
    with pytest.raises(RunFolderError, match="No space left"):
        save_checkpoint(tmp_path, state, 2, [])
    assert load_checkpoint(tmp_path, model, optimizer)[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_torn_checkpoint_is_refused(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(tmp_path, training_state(model, optimizer), 1, [])
    content = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(content[:100])
    with pytest.raises(RunFolderError, match=r"Cannot resume from .*checkpoint\.pt"):
        load_checkpoint(tmp_path, model, optimizer)


# What run.json of version 0.1 says of settings that are gone, and of the inspection.
GONE = {
    "trainable": "lora", "schedule": "constant", "warmup_steps": 0, "weight_decay": 0.0,
    "max_grad_norm": 1.0, "unbiased_kl": False, "iterations": 1, "normalization": "grpo",
    "scale_advantages": True, "skip_uniform_groups": False, "relative_supports": False,
    "sharing": "cache",
}  # fmt: skip
OLD_NAMES = {"attention_row": "row", "attention_prior": "relative", "feature_distance": "rarity"}


def as_of_version_0_1(out: Path, **settings: Any) -> None:
    """Rewrite a run's description as version 0.1 wrote it."""
    about = json.loads((out / "run.json").read_text())
    inspection = {OLD_NAMES.get(k, k): v for k, v in about["inspection"].items()}
    inspection |= {"row": "own", "heads": None}
    about |= {"format": 1, "inspection": inspection}
    about.pop("prior_sha256", None)
    about["settings"] |= GONE | settings
    (out / "run.json").write_text(json.dumps(about))


def test_a_training_of_version_0_1_is_resumed(
    tiny_checkpoint: Path, photos: Path, finished: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "run"
    rollouts, done = Learner.rollouts, []

    def killed(self: Learner, *arguments: Any) -> Any:
        done.append(None)
        if len(done) == 3:
            raise KeyboardInterrupt
        return rollouts(self, *arguments)

    monkeypatch.setattr(Learner, "rollouts", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_checkpoint, photos, out)
    as_of_version_0_1(out)
    metrics = (out / "metrics.jsonl").read_text()
    old = metrics.replace("_std", "_spread").replace("zero_variance_groups", "uniform_groups")
    assert old != metrics
    old = old.replace('{"step": 1,', '{"step": 1, "learning_rate": 0.01,')
    (out / "metrics.jsonl").write_text(old)
    run(tiny_checkpoint, photos, out)
    expected = weights(finished)
    assert all(torch.equal(value, expected[name]) for name, value in weights(out).items())
    assert (out / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()
    as_of_version_0_1(out, iterations=2)
    with pytest.raises(RunFolderError, match=r"settings\.iterations 2"):
        run(tiny_checkpoint, photos, out)


def test_the_attention_prior_belongs_to_a_training(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = tmp_path / "model", tmp_path / "run"
    shutil.copytree(tiny_checkpoint, model)
    sha256 = load_mllm(model, device="cpu").sha256
    uses_prior = replace(INSPECTION, attention_prior=True)
    monkeypatch.setattr("helpers.training.INSPECTION", uses_prior)
    monkeypatch.setattr("flawsight.cgro.trainer.validate", lambda *_: OUTCOMES)

    def measure(seed: int) -> str:
        attention = torch.rand(5, 5, generator=torch.Generator().manual_seed(seed))
        prior = measure_prior([attention], None, sha256)
        (model / FILE).write_bytes(encode_prior(prior))
        return prior.sha256

    recorded = measure(0)
    run(model, photos, out, steps=1)
    about = json.loads((out / "run.json").read_text())
    assert about.pop("prior_sha256") == recorded
    measure(1)
    with pytest.raises(RunFolderError, match="prior_sha256"):
        run(model, photos, out, steps=1)
    (out / "run.json").write_text(json.dumps(about))  # as before it was recorded
    assert run(model, photos, out, steps=1)[1] == []
    monkeypatch.setattr("helpers.training.INSPECTION", INSPECTION)
    run(model, photos, tmp_path / "without", steps=1)
    assert json.loads((tmp_path / "without/run.json").read_text())["prior_sha256"] is None


def test_sharing_of_version_0_1_follows_from_checkpointing() -> None:
    packed = {"gradient_checkpointing": True, "sharing": "packed"}
    assert upgraded_train_settings(packed) == {"gradient_checkpointing": True}
    assert upgraded_train_settings({"sharing": "cache", "steps": 3}) == {"steps": 3}
    assert upgraded_train_settings({"sharing": "repeated"}) == {"sharing": "repeated"}
    today = TrainSettings().to_json()
    assert upgraded_train_settings(today | GONE) == today


def test_other_settings_need_another_folder(
    tiny_checkpoint: Path, photos: Path, finished: Path
) -> None:
    with pytest.raises(RunFolderError, match=r"settings\.kl_weight"):
        run(tiny_checkpoint, photos, finished, kl_weight=0.1)


def test_images_are_shared_out_evenly(tiny_checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="multiple of images_per_forward"):
        run(tiny_checkpoint, photos, tmp_path / "run", images_per_forward=3)


def test_metrics_of_validation() -> None:
    found = validation_metrics(OUTCOMES)
    # Pairs ranked rightly: .9 above .2 and .8; the image without an answer below both.
    assert found["image_auroc"] == pytest.approx(0.5)
    assert found["balanced_accuracy"] == pytest.approx(0.5)
    assert found["answered"] == 0.75
    assert found["contradictions"] == 0.25


@pytest.mark.parametrize(
    "values",
    [{"candidates": 1}, {"learning_rate": "1e-5"}, {"steps": 0}, {"reward": "r2"},
     {"quantile": 1.0}, {"defective_share": 1.0}, {"seed": -1}, {"shard": 1},
     {"features": "cloud"}, {"nonsense": 1}],
)  # fmt: skip
def test_senseless_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(values)).split("_")[0]):
        TrainSettings().changed(values)


def test_the_papers_presets_say_what_the_paper_says() -> None:
    for name in ("paper-7b", "paper-3b"):
        preset = TRAIN_PRESETS[name]
        assert (preset.settings.images_per_step, preset.settings.candidates) == (16, 8)
        assert preset.inspection.image_tokens == 225


def test_gradient_checkpointing_needs_sdpa(flash_mllm: MLLM, tmp_path: Path) -> None:
    settings = TrainSettings(gradient_checkpointing=True)
    accelerator = make_accelerator(settings, tmp_path, cpu=True)
    with pytest.raises(SettingsError, match="flash_attention_2 does not take"):
        Learner(flash_mllm, INSPECTION, settings, accelerator, tmp_path)


def test_one_training_at_a_time_and_none_is_lost_to_a_kill_at_its_start(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / ".run.json.4711").write_text("{")  # of a process that was killed
    code = (
        "import sys, time; from pathlib import Path; from flawsight.runs.run_lock import lock_run"
    )
    code += "; held = lock_run(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match=rf"in use by process {other.pid} "):
            run(tiny_checkpoint, photos, tmp_path)
    finally:
        other.kill()
        other.wait()
    run(tiny_checkpoint, photos, tmp_path)
    assert (tmp_path / "metrics.jsonl").exists()
    assert not list(tmp_path.glob(".run.json.*"))
