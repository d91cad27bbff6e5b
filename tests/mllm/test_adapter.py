"""Adapters whose config has the module names of transformers before 4.52."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from flawsight.errors import ModelError
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import load_mllm
from flawsight.settings import Settings
from helpers.checkpoints import photo

QUERY = "model.language_model.layers.1.self_attn.q_proj"
VALUE = "model.language_model.layers.0.self_attn.v_proj"
VISION = r"model\.visual\..*"
LANGUAGE = r"model\.language_model\.layers\.\d+\.(self_attn\.(q|v)|mlp\.(gate|up))_proj"
GATES = r"model\.language_model\.layers\.0\.mlp\.(gate|up)_proj"
MLP = ["gate_proj", "up_proj", "down_proj"]  # of the vision blocks as well


def old(name: str) -> str:
    """Return a name, or a pattern of names, as it was before 4.52."""
    for now, before in (("model.language_model.", "model."), ("model.visual.", "visual.")):
        name = name.replace(now, before)
        name = name.replace(now.replace(".", r"\."), before.replace(".", r"\."))
    return name


def renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {old(key): entry for key, entry in value.items()}
    return [old(entry) for entry in value] if isinstance(value, list) else old(value)


def logits(checkpoint: Path, adapter: Path) -> Tensor:
    mllm = load_mllm(checkpoint, adapter=adapter, device="cpu")
    assert not any("lora" in n and "visual" in n for n, _ in mllm.model.named_parameters())
    inputs = encode_prompts(mllm, [photo(84, 84)], Settings(image_tokens=9)).inputs
    with torch.no_grad():
        found: Tensor = mllm.model(**inputs).logits
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": [QUERY, VALUE]},
        {"target_modules": LANGUAGE},
        {"target_modules": MLP, "exclude_modules": VISION},
        {"target_modules": LANGUAGE, "rank_pattern": {QUERY: 2}},
        {
            "target_modules": LANGUAGE,
            "alpha_pattern": {QUERY: 64, r"model\.language_model\.layers\.0\.mlp\..*": 2},
        },
        {"target_modules": ["q_proj", VALUE], "alpha_pattern": {"v_proj": 64}},
    ],
    ids=str,
)
def test_old_names_give_what_today_s_names_give(
    tiny_checkpoint: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(tiny_checkpoint)
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, **fields))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(tmp_path / "now")
    expected = logits(tiny_checkpoint, tmp_path / "now")
    config = json.loads((tmp_path / "now/adapter_config.json").read_text())
    before = config | {name: renamed(config[name]) for name in fields}
    assert before != config
    (tmp_path / "before").mkdir()
    (tmp_path / "before/adapter_config.json").write_text(json.dumps(before))
    weights = load_file(tmp_path / "now/adapter_model.safetensors")
    save_file(
        {old(name): weight for name, weight in weights.items()},
        tmp_path / "before/adapter_model.safetensors",
    )
    torch.testing.assert_close(logits(tiny_checkpoint, tmp_path / "before"), expected)
    plain = load_mllm(tiny_checkpoint, device="cpu")
    inputs = encode_prompts(plain, [photo(84, 84)], Settings(image_tokens=9)).inputs
    with torch.no_grad():
        assert not torch.allclose(plain.model(**inputs).logits, expected, atol=1e-3)


def test_names_of_no_module_are_an_error(tiny_checkpoint: Path, tmp_path: Path) -> None:
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(tiny_checkpoint)
    get_peft_model(base, LoraConfig(target_modules=[QUERY])).save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target_modules": ["layers.9.q"]}))
    with pytest.raises(ModelError, match="does not fit"):
        load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")
