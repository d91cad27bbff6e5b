"""Another adapter for a loaded model is what loading that adapter gives; the old one stays."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from flawsight.errors import ModelError
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.swap_adapter import swap_adapter
from flawsight.settings import Settings
from helpers.checkpoints import photo

QUERIES = {"target_modules": r".*language_model.*\.q_proj", "r": 2}
MORE = {"target_modules": ["q_proj", "v_proj", "down_proj"], "r": 4, "use_dora": True}
SAVED = {**QUERIES, "modules_to_save": ["merger"]}


def write(folder: Path, checkpoint: Path, seed: int, fields: dict[str, Any]) -> Path:
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint)
    torch.manual_seed(seed)
    adapted = get_peft_model(base, LoraConfig(**fields))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(folder)
    return folder


def logits(mllm: MLLM) -> Tensor:
    inputs = encode_prompts(mllm, [photo(84, 84)], Settings(image_tokens=9)).inputs
    with torch.no_grad():
        found: Tensor = mllm.model(**inputs).logits
    return found


@pytest.mark.parametrize(("first", "second"), [(QUERIES, MORE), (MORE, QUERIES), (SAVED, QUERIES)])
def test_a_swap_gives_what_loading_gives(
    tiny_checkpoint: Path, tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    adapter = write(tmp_path / "adapter", tiny_checkpoint, 1, first)
    old = load_mllm(tiny_checkpoint, adapter=adapter, device="cpu", keep_bare=True)
    before = logits(old)
    for file in adapter.iterdir():
        file.unlink()
    write(adapter, tiny_checkpoint, 2, second)
    swapped = swap_adapter(old, adapter)
    fresh = load_mllm(tiny_checkpoint, adapter=adapter, device="cpu")
    assert torch.equal(logits(swapped), logits(fresh))
    assert torch.equal(logits(old), before)
    assert not torch.allclose(before, logits(fresh))
    assert swapped.sha256 == fresh.sha256 != old.sha256
    assert (swapped.folder, swapped.name) == (fresh.folder, fresh.name)
    # The weights are shared, what a run changes is not.
    embedding = swapped.model.get_input_embeddings().weight
    assert embedding.data_ptr() == old.model.get_input_embeddings().weight.data_ptr()
    assert swapped.lock is not old.lock
    again = swap_adapter(swapped, write(tmp_path / "third", tiny_checkpoint, 1, first))
    assert torch.equal(logits(again), before)


def test_both_run_at_once(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Each has state of its own: the old one answers the same while others are swapped in."""
    adapter = write(tmp_path / "adapter", tiny_checkpoint, 1, QUERIES)
    old = load_mllm(tiny_checkpoint, adapter=adapter, device="cpu", keep_bare=True)
    before, stop, wrong = logits(old), threading.Event(), list[int]()

    def run() -> None:
        while not stop.is_set():
            wrong.append(int(not torch.equal(logits(old), before)))

    running = threading.Thread(target=run)
    running.start()
    for seed in (2, 3):
        swap_adapter(old, write(tmp_path / str(seed), tiny_checkpoint, seed, MORE))
    stop.set()
    running.join()
    assert wrong
    assert sum(wrong) == 0


def test_a_bad_adapter_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    adapter = write(tmp_path / "adapter", tiny_checkpoint, 1, QUERIES)
    old = load_mllm(tiny_checkpoint, adapter=adapter, device="cpu", keep_bare=True)
    before = logits(old)
    weights = adapter / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    with pytest.raises(ModelError, match="adapter"):
        swap_adapter(old, adapter)
    weights.unlink()
    with pytest.raises(ModelError, match="adapter"):
        swap_adapter(old, adapter)
    with pytest.raises(ModelError, match="nowhere"):
        swap_adapter(old, tmp_path / "nowhere")
    assert torch.equal(logits(old), before)
    with pytest.raises(ModelError, match="keep_bare"):
        swap_adapter(load_mllm(tiny_checkpoint, device="cpu"), adapter)
