"""The encoder's way from the source's file into Qwen2.5-VL's class, held to the source."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from build import MERGE_SIZE, PATCH_SIZE, build_model, build_processor, build_tokenizer
from convert import block_weights, centred, constant, converted
from distill import loss_of, normalised, own_features, patches_of, source_features
from PIL import Image
from source_encoder import read_source
from torch import Tensor
from transformers import Dinov2Model

from helpers.tiny_source import DEPTH, SIZES, tiny_source, write_wheel


@pytest.fixture(scope="module")
def source() -> Dinov2Model:
    return tiny_source()


@pytest.fixture(scope="module")
def visual(source: Dinov2Model) -> Any:
    model: Any = build_model(build_tokenizer([], 280), SIZES)
    model.set_attn_implementation({"vision_config": "flash_by_length"})
    visual = model.model.visual.eval()
    missing, unexpected = visual.load_state_dict(converted(source), strict=False)
    assert not unexpected
    assert all(name.startswith("merger.") for name in missing)
    return visual


def test_the_wheel_gives_the_weights_it_was_made_of(source: Dinov2Model, tmp_path: Path) -> None:
    read = read_source(write_wheel(tmp_path, source), DEPTH)
    for name, weight in source.state_dict().items():
        if "mask_token" not in name and not name.startswith("layernorm."):
            assert torch.equal(weight, read.state_dict()[name]), name
    fewer = read_source(write_wheel(tmp_path, source), 1)
    image = torch.randn(1, 3, 56, 84)
    hidden = [model(image, output_hidden_states=True).hidden_states[1] for model in (read, fewer)]
    assert torch.equal(*hidden)


def test_a_wheel_without_a_block_is_refused(source: Dinov2Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no encoder\.layer\.2"):
        read_source(write_wheel(tmp_path, source), DEPTH + 1)


def test_a_block_computes_what_the_sources_does(source: Dinov2Model, visual: Any) -> None:
    stream = torch.randn(1, 20, SIZES["vision_width"]) * 3 + 1
    still = (torch.ones(20, SIZES["vision_head_size"]), torch.zeros(20, SIZES["vision_head_size"]))
    block = deepcopy(visual.blocks[1])
    for layer in source.encoder.layer:
        block.load_state_dict(block_weights(layer))
        whole = torch.tensor([0, 20])
        own = block(less_mean(stream)[0], cu_seqlens=whole, position_embeddings=still)
        assert torch.allclose(own, less_mean(layer(stream))[0], atol=2e-5)


def test_the_patch_kernel_writes_what_the_sources_does(source: Dinov2Model, visual: Any) -> None:
    images = torch.randn(2, 3, 56, 84)
    own = visual.patch_embed(patches_of(images))
    projected = source.embeddings.patch_embeddings(images)
    bias = source.embeddings.patch_embeddings.projection.bias
    assert torch.allclose(own, less_mean(in_merge_order(projected - bias, 4, 6)), atol=1e-5)


def test_the_constant_vector_is_in_the_stream_after_the_first_block(
    source: Dinov2Model, visual: Any
) -> None:
    own = converted(source)["blocks.0.attn.proj.bias"]
    first = block_weights(source.encoder.layer[0])["attn.proj.bias"]
    assert torch.allclose(own - first, centred(constant(source)), atol=1e-6)
    positions = source.embeddings.position_embeddings[0, 1:]
    bias = source.embeddings.patch_embeddings.projection.bias
    assert torch.allclose(constant(source), (positions + bias).mean(0), atol=1e-6)


def test_features_are_compared_patch_by_patch(source: Dinov2Model, visual: Any) -> None:
    images = torch.randn(2, 3, 56, 84)
    blocks = [0, 1]
    theirs = source_features(source, images, blocks)
    hidden = source(images, output_hidden_states=True).hidden_states
    for row, block in enumerate(blocks):
        assert torch.equal(theirs[row], in_merge_order(hidden[block + 1][:, 1:], 4, 6))
    own = own_features(visual, images, blocks)
    grid = torch.tensor([[1, 4, 6]] * 2)
    last = visual(patches_of(images), grid_thw=grid).last_hidden_state
    assert torch.equal(own[1], last)
    assert own.shape == theirs.shape
    assert loss_of(theirs, theirs) < 1e-6
    assert loss_of(theirs * 3 + 1, theirs) < 1e-5  # scale and mean do not count


def test_patches_are_those_of_the_processor() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 112, 3), np.uint8)
    processor = build_processor(build_tokenizer([], 280), image_side=56).image_processor
    theirs = processor([Image.fromarray(pixels)], return_tensors="pt")
    assert theirs["image_grid_thw"].tolist() == [[1, 28 // PATCH_SIZE, 112 // PATCH_SIZE]]
    image = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    assert torch.allclose(patches_of(normalised(image)[None]), theirs["pixel_values"], atol=1e-5)


def less_mean(features: Tensor) -> Tensor:
    return features - features.mean(-1, keepdim=True)


def in_merge_order(rows: Tensor, height: int, width: int) -> Tensor:
    """(B, height·width, d) in reading order → (B·height·width, d), image token by image token."""
    order = [
        (MERGE_SIZE * row + i) * width + MERGE_SIZE * column + j
        for row in range(height // MERGE_SIZE)
        for column in range(width // MERGE_SIZE)
        for i in range(MERGE_SIZE)
        for j in range(MERGE_SIZE)
    ]
    return rows[:, order].flatten(0, 1)
