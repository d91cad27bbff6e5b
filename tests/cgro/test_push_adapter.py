"""Adapters by the Hugging Face hub, against a stand-in on loopback."""

from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText

from flawsight.cgro.model_card import model_card
from flawsight.cgro.push_adapter import push_adapter
from flawsight.errors import HubError, ModelError
from flawsight.mllm.load import load_mllm
from helpers.hub_server import running_hub, use_hub

NAME = "acme/line3"
ABOUT = {
    "model": {"name": "acme/base", "sha256": "0" * 64},
    "settings": {"reward": "cgro", "steps": 9},
    "inspection": {},
    "versions": {},
    "data": {
        "sources": ["line3"],
        "sha256": "1" * 64,
        "balance": {"validation": {"normal": 3, "defective": 2}},
    },
}
ROW = {
    "step": 4.0, "image_auroc": 0.81234, "image_auroc_low": 0.5, "image_auroc_high": 0.9,
    "balanced_accuracy": 0.75, "answered": 1.0, "contradictions": 0.0,
}  # fmt: skip


def test_the_front_matter_is_of_the_hubs_form() -> None:
    card = model_card(ABOUT, 4, [ROW | {"step": 0.0}, ROW])
    about = yaml.safe_load(card.split("---\n")[1])
    assert about["base_model"] == "acme/base"
    assert "license" not in about
    (entry,) = about["model-index"]
    (results,) = entry["results"]
    assert results["task"]["type"] == "image-classification"
    found = {metric["type"]: metric["value"] for metric in results["metrics"]}
    assert found == {"roc_auc": 0.8123, "balanced_accuracy": 0.75}
    assert all("after 4 steps" in metric["name"] for metric in results["metrics"])
    local = model_card(ABOUT | {"model": {"name": "/models/a", "sha256": ""}}, 0, [])
    assert not {"base_model", "model-index"} & yaml.safe_load(local.split("---\n")[1]).keys()


def test_a_pushed_adapter_loads_by_its_name(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    config = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(tiny_checkpoint), config)
    model.save_pretrained(tmp_path / "best", save_embedding_layers=False)
    (tmp_path / "best/README.md").write_text(model_card(ABOUT, 4, [ROW]))
    with running_hub() as hub:
        use_hub(hub, tmp_path / "cache", monkeypatch)
        push_adapter(tmp_path / "best", NAME)
        stored = hub.repositories[NAME]
        assert stored.keys() == {
            "README.md", "SHA256SUMS", "adapter_config.json", "adapter_model.safetensors"
        }  # fmt: skip
        loaded = load_mllm(tiny_checkpoint, adapter=NAME, device="cpu")
        here = load_mllm(tiny_checkpoint, adapter=tmp_path / "best", device="cpu")
        assert loaded.sha256 == here.sha256
        weights = dict(loaded.model.named_parameters())
        assert all(torch.equal(weights[n], v) for n, v in here.model.named_parameters())
        stored["adapter_model.safetensors"] = stored["adapter_model.safetensors"][:-1] + b"x"
        with pytest.raises(ModelError, match=r"adapter_model\.safetensors of acme/line3 is not"):
            load_mllm(tiny_checkpoint, adapter=NAME, device="cpu")


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="holds no adapter of flawsight train"):
        push_adapter(tmp_path, NAME)
