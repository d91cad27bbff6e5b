"""Training an adapter further: it starts as the adapter, and is measured against it."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from flawsight.cgro.best_step import Outcome
from flawsight.cgro.checkpoint import lora_settings
from flawsight.cgro.learner import Learner
from flawsight.cgro.policy import make_trainable, trainable_parameters
from flawsight.cgro.train_settings import TrainSettings
from flawsight.cgro.trainer import make_accelerator
from flawsight.errors import ModelError, RunFolderError
from flawsight.mllm.load import load_mllm
from helpers.checkpoints import edit_json
from helpers.training import INSPECTION, make_photos, run, weights


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos") / "line")


@pytest.fixture(scope="module")
def adapter(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_adapter(tiny_checkpoint, tmp_path_factory.mktemp("adapter"))


def made_adapter(checkpoint: Path, folder: Path, **changes: Any) -> Path:
    """An adapter of PEFT's own, with random weights; its layers are not those of our trainings."""
    torch.manual_seed(5)
    config: dict[str, Any] = {
        "r": 2, "lora_alpha": 6, "target_modules": r".*language_model.*\.(q|up)_proj",
        "init_lora_weights": False, "lora_dropout": 0.5,
    }  # fmt: skip
    base = AutoModelForImageTextToText.from_pretrained(checkpoint)
    model = get_peft_model(base, LoraConfig(**config | changes))
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def of_file(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_a_training_starts_without_warnings(tiny_checkpoint: Path, tmp_path: Path) -> None:
    settings = TrainSettings(gradient_checkpointing=True)
    accelerator = make_accelerator(settings, tmp_path, cpu=True)
    mllm = load_mllm(tiny_checkpoint, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mllm = make_trainable(mllm, 4, 8, seed=0)
        Learner(mllm, INSPECTION, settings, accelerator, tmp_path)
    assert mllm.model.base_model.model.model.language_model.gradient_checkpointing


def test_it_starts_as_the_adapter_with_its_own_layers(tiny_checkpoint: Path, adapter: Path) -> None:
    assert lora_settings(str(adapter)) == {"lora_rank": 2, "lora_alpha": 6}
    mllm = make_trainable(load_mllm(tiny_checkpoint, adapter=adapter, device="cpu"), 2, 6, seed=0)
    start = {name.replace(".default", ""): p for name, p in trainable_parameters(mllm.model)}
    expected = of_file(adapter)
    assert start.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in start.items())
    mllm.model.train()
    assert not any(m.p for m in mllm.model.modules() if isinstance(m, torch.nn.Dropout))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_first_kl_is_0_and_the_reference_stays_the_adapter(
    tiny_checkpoint: Path, adapter: Path, photos: Path, tmp_path: Path, checkpointing: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    references: list[torch.Tensor] = []
    seen = Learner._reference_log_probs

    mllm = load_mllm(tiny_checkpoint, adapter=adapter, device="cpu")

    def recorded(self: Learner, rollout: Any) -> Any:
        found = seen(self, rollout)
        with torch.no_grad():
            own = type(self._reference)(mllm.model, "cache", 1.0, mllm.attention, None)(
                rollout.prompts, rollout.completions
            )[0]
        mask = rollout.completions.mask
        torch.testing.assert_close(found[mask], own[mask], atol=1e-4, rtol=1e-4)
        references.append(found)
        return found

    monkeypatch.setattr(Learner, "_reference_log_probs", recorded)
    monkeypatch.setattr("flawsight.cgro.trainer.validate", lambda *_: OUTCOMES)
    _, steps = run(
        tiny_checkpoint, photos, tmp_path / "run", adapter=adapter, lora_rank=2, lora_alpha=6,
        steps=2, gradient_checkpointing=checkpointing, validate_every=0,
    )  # fmt: skip
    assert len(references) == 8
    assert abs(steps[1][1]["kl"]) < 1e-6
    assert steps[2][1]["kl"] > 1e-6
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["adapter"]["name"] == str(adapter)
    assert about["adapter"]["sha256"] != about["model"]["sha256"]
    assert str(adapter) in (tmp_path / "run/last/README.md").read_text()
    trained = of_file(tmp_path / "run/last")
    assert trained.keys() == of_file(adapter).keys()
    assert any(not torch.equal(v, of_file(adapter)[n]) for n, v in trained.items())


OUTCOMES = [Outcome(True, 0.9, True, False), Outcome(False, 0.2, False, False)]


def test_a_resumed_training_ends_in_the_same_bits(
    tiny_checkpoint: Path, adapter: Path, photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("flawsight.cgro.trainer.validate", lambda *_: OUTCOMES)
    more: dict[str, Any] = {"adapter": adapter, "lora_rank": 2, "lora_alpha": 6, "steps": 3}
    run(tiny_checkpoint, photos, tmp_path / "whole", **more)
    update, done = Learner.update, []

    def killed(self: Learner, rollouts: Any) -> Any:
        done.append(None)
        if len(done) == 3:
            raise KeyboardInterrupt
        return update(self, rollouts)

    monkeypatch.setattr(Learner, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_checkpoint, photos, tmp_path / "run", **more)
    run(tiny_checkpoint, photos, tmp_path / "run", **more)
    expected = weights(tmp_path / "whole")
    found = weights(tmp_path / "run")
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    with pytest.raises(RunFolderError, match="adapter"):
        run(tiny_checkpoint, photos, tmp_path / "run", steps=3, lora_rank=2, lora_alpha=6)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"r": 3}, "lora_rank 3, the training 2"),
        ({"lora_alpha": 5}, "lora_alpha 5, the training 6"),
        ({"bias": "all"}, "bias all"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"target_modules": ["q_proj", "qkv"]}, r"vision encoder must stay frozen.*visual\.blocks"),
    ],
)
def test_adapters_that_cannot_be_trained_further(
    tiny_checkpoint: Path, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    folder = made_adapter(tiny_checkpoint, tmp_path, **changes)
    mllm = load_mllm(tiny_checkpoint, adapter=folder, device="cpu")
    with pytest.raises(ModelError, match=complaint):
        make_trainable(mllm, 2, 6, seed=0)


def test_an_adapter_of_another_model_or_none(tiny_checkpoint: Path, tmp_path: Path) -> None:
    mllm = make_trainable(load_mllm(device="cpu"), 2, 6, seed=0)  # the bundled model
    mllm.model.save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(ModelError, match="does not fit the model"):
        load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        lora_settings(str(tiny_checkpoint))
    edit_json(tmp_path / "adapter_config.json", r=None)
    with pytest.raises(ModelError, match="no LoRA adapter"):
        lora_settings(str(tmp_path))
