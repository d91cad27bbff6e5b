"""A sharded model samples as the whole one does, and its state goes to disk and back.

In a group of one process; two are in `test_trainer.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import distributed
from torch.distributed.tensor import DTensor

from flawsight.cgro.checkpoint import load_checkpoint, save_checkpoint, training_state
from flawsight.cgro.policy import make_trainable, trainable_parameters
from flawsight.cgro.shard import shard, whole
from flawsight.mllm.load import MLLM, load_mllm
from helpers.generating import generate
from helpers.training import INSPECTION


@pytest.fixture
def _group(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def sharded(checkpoint: Path) -> MLLM:
    mllm = make_trainable(load_mllm(checkpoint, device="cpu"), 4, 8, seed=0)
    shard(mllm.model, mllm.device, 1)
    return mllm


@pytest.mark.usefixtures("_group")
def test_a_sharded_model_samples_and_is_saved_whole(tiny_checkpoint: Path, tmp_path: Path) -> None:
    image = Image.effect_noise((60, 80), 64).convert("RGB")
    [expected] = generate(load_mllm(tiny_checkpoint, device="cpu"), [image], INSPECTION)
    mllm = sharded(tiny_checkpoint)
    parameters = trainable_parameters(mllm.model)
    assert all(isinstance(value, DTensor) for _, value in parameters)
    with whole(mllm.model):
        [found] = generate(mllm, [image], INSPECTION)
    assert found.text == expected.text
    torch.testing.assert_close(found.image_attention, expected.image_attention)
    assert all(isinstance(value, DTensor) for _, value in trainable_parameters(mllm.model))

    optimizer = torch.optim.AdamW([value for _, value in parameters])
    for _, value in parameters:
        value.grad = torch.randn_like(value)
    optimizer.step()
    state = training_state(mllm.model, optimizer)
    assert not any(isinstance(value, DTensor) for value in state["weights"].values())
    save_checkpoint(tmp_path, state, 3, [])
    other = sharded(tiny_checkpoint)
    fresh = torch.optim.AdamW([value for _, value in trainable_parameters(other.model)])
    assert load_checkpoint(tmp_path, other.model, fresh) == (3, [])
    again = training_state(other.model, fresh)
    for part in ("weights", "optimizer"):
        torch.testing.assert_close(again[part], state[part], rtol=0, atol=0)
    for _, value in trainable_parameters(other.model):
        value.grad = torch.randn_like(value)
    fresh.step()  # with moments in the parameters' slices
