"""Rarity: against scikit-learn, against features read another way, and as a step of a map."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import OAS

from flawsight.cgro.encoded_images import encode_image
from flawsight.inspection import Crop, FloatArray
from flawsight.localize import inspect_trace
from flawsight.mllm.generate import generate, replay
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.patch_features import capture_rarity
from flawsight.real.anomaly_map import density
from flawsight.refine.crops import look
from flawsight.refine.feature_distance import rarity, weigh
from flawsight.runs.trace_store import load_trace, save_trace
from flawsight.settings import PRESETS
from helpers.checkpoints import photo, random_model, tiny_config, tiny_tokenizer, write_processor
from helpers.traces import RESPONSE, make_trace

SETTINGS = replace(PRESETS["paper"], feature_distance=True, image_tokens=None, max_new_tokens=12)
IMAGES = [photo(252, 140), photo(140, 196, seed=1)]


@pytest.mark.parametrize("shape", [(400, 12), (30, 40)])
def test_rarity_is_the_distance_scikit_learn_measures(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(shape[1], shape[1], generator=generator)
    features = torch.randn(shape, generator=generator) @ mixed + 3
    distances = OAS().fit(features.double().numpy()).mahalanobis(features.double().numpy())
    expected = distances / distances.mean()
    np.testing.assert_allclose(rarity(features).numpy(), expected, rtol=1e-3)


def test_the_odd_one_out_is_rare_and_among_equals_none_is() -> None:
    features = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    features[37] += 20
    assert int(rarity(features).argmax()) == 37
    assert torch.equal(rarity(torch.full((6, 4), 0.3)), torch.ones(6))
    assert rarity(features.index_fill(0, torch.tensor([3]), torch.nan)).isnan().all()


def test_mixed_precision_rounds_nothing() -> None:
    features = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = rarity(features)
    assert torch.equal(mixed, rarity(features))


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_rarity_knows_neither_order_nor_scale_nor_zero(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(40, 6, generator=generator) * torch.arange(1.0, 7)
    order = torch.randperm(40, generator=generator)
    moved = scale * features[order] + torch.randn(6, generator=generator)
    torch.testing.assert_close(rarity(moved), rarity(features)[order], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(rarity(features).mean(), torch.tensor(1.0))


def test_attention_is_multiplied_on_the_finer_grid() -> None:
    attention, rare = torch.tensor([[1.0, 3.0]]), torch.tensor([[4.0, 1.0, 1.0, 1.0]])
    # Bilinear on areas: 1, 1.5, 2.5, 3.
    expected = torch.tensor([[4.0, 1.5, 2.5, 3.0]]) / 2.75
    torch.testing.assert_close(weigh(attention, rare), expected)
    assert torch.equal(weigh(attention, None), density(attention))


def test_places_come_back_from_the_encoder_s_windows(tmp_path: Path) -> None:
    """The training reads the last block's features in the image's order by a way of its own."""
    tokenizer = tiny_tokenizer()
    config = tiny_config(tokenizer)
    config.vision_config.depth = 1
    random_model(tokenizer, config).save_pretrained(tmp_path)
    write_processor(tmp_path, tokenizer, "chat_template.jinja")
    mllm = load_mllm(tmp_path, device="cpu")
    for image, trace in zip(IMAGES, generate(mllm, IMAGES, SETTINGS), strict=True):
        grid_h, grid_w = trace.image_attention.shape[1:]
        units = encode_image(mllm, image, SETTINGS).features.view(grid_h, grid_w, 2, 2, -1)
        patches = units.transpose(1, 2).reshape(4 * grid_h * grid_w, -1)
        expected = rarity(patches).view(2 * grid_h, 2 * grid_w)
        assert trace.rarity is not None
        torch.testing.assert_close(trace.rarity, expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 0.1


def test_what_is_read_beside_changes_nothing(tiny_mllm: MLLM) -> None:
    """Nothing that is said or looked at; a batch, one image and a replay have the same rarity."""
    plain = generate(tiny_mllm, IMAGES, replace(SETTINGS, feature_distance=False))
    batch = generate(tiny_mllm, IMAGES, SETTINGS)
    again = replay(tiny_mllm, IMAGES, [trace.text for trace in batch], SETTINGS)
    for image, without, trace, replayed in zip(IMAGES, plain, batch, again, strict=True):
        assert without.rarity is None
        assert trace.text == without.text
        assert torch.equal(trace.image_attention, without.image_attention)
        alone = generate(tiny_mllm, [image], SETTINGS)[0]
        assert trace.rarity is not None
        assert alone.rarity is not None
        assert replayed.rarity is not None
        torch.testing.assert_close(trace.rarity, alone.rarity)
        torch.testing.assert_close(trace.rarity, replayed.rarity)


def test_the_encoder_is_left_as_it_was(tiny_mllm: MLLM) -> None:
    def hooks() -> int:
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in tiny_mllm.model.modules()
        )

    before = hooks()
    with capture_rarity(tiny_mllm.model) as found:
        assert hooks() > before
    assert hooks() == before
    assert not found


def test_parts_have_a_rarity_of_their_own_and_all_is_kept(tiny_mllm: MLLM, tmp_path: Path) -> None:
    settings = replace(SETTINGS, crops=2)
    trace = look(tiny_mllm, [IMAGES[0]], settings)[0]
    for glance in trace.glances:
        left, top, width, height = glance.box
        part = IMAGES[0].crop((left, top, left + width, top + height))
        alone = replay(tiny_mllm, [part], [trace.text], settings)[0]
        assert glance.rarity is not None
        assert alone.rarity is not None
        torch.testing.assert_close(glance.rarity, alone.rarity)
    save_trace(tmp_path / "trace.npz", trace, (140, 252))
    loaded = load_trace(tmp_path / "trace.npz")
    assert loaded is not None
    kept = [loaded[0].rarity, *(glance.rarity for glance in loaded[0].glances)]
    seen = [trace.rarity, *(glance.rarity for glance in trace.glances)]
    for one, other in zip(kept, seen, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_a_map_is_weighed_only_where_the_setting_says() -> None:
    trace = make_trace(RESPONSE)
    rare = torch.ones(6, 8)
    rare[0, 0] = 50
    part = Crop((0, 0, 20, 20), torch.ones(2, 2), 0.5, rarity=torch.eye(4) + 0.1)
    seen = replace(trace, rarity=density(rare), glances=(part,))

    def map_of(**changes: Any) -> FloatArray:
        settings = replace(PRESETS["paper"], **changes)
        return inspect_trace(seen, (30, 40), settings).anomaly_map

    assert map_of(feature_distance=True)[0, 0] > map_of()[0, 0]
    assert map_of(feature_distance=True)[15:, 20:].max() < map_of()[15:, 20:].max()
    gain = (map_of(feature_distance=True, crops=1) - map_of(crops=1))[5:20, 5:20]
    assert np.diagonal(gain).mean() > gain.mean()
