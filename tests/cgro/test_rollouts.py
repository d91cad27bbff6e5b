"""Sampling with a shared prompt against transformers' own generation."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from flawsight.cgro.encoded_images import collate, encode_image
from flawsight.cgro.growable_cache import growable_cache
from flawsight.cgro.rollouts import draw, sample, uniforms
from flawsight.errors import ModelError
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.generate import respond
from flawsight.mllm.load import MLLM
from flawsight.settings import Settings
from helpers.checkpoints import photo, tiny_config, tiny_tokenizer

SETTINGS = Settings(image_tokens=12)
IMAGES = [photo(90, 60, seed=1), photo(64, 64, seed=2), photo(40, 120, seed=3)]


def test_cold_sampling_is_greedy_generation(tiny_mllm: MLLM) -> None:
    prompts = collate([encode_image(tiny_mllm, image, SETTINGS) for image in IMAGES], tiny_mllm)
    found = sample(tiny_mllm, prompts, uniforms(0, [0, 1, 2], 2, 12), temperature=1e-4)
    inputs = encode_prompts(tiny_mllm, IMAGES, SETTINGS).inputs
    expected, _ = respond(tiny_mllm, inputs, 12)
    assert found == [response for response in expected for _ in range(2)]


def test_what_is_sampled_does_not_depend_on_the_batch(tiny_mllm: MLLM) -> None:
    encoded = [encode_image(tiny_mllm, image, SETTINGS) for image in IMAGES]
    together = sample(tiny_mllm, collate(encoded, tiny_mllm), uniforms(5, [7, 8, 9], 4, 10), 1.0)
    alone = [
        ids
        for index, one in enumerate(encoded)
        for ids in sample(
            tiny_mllm, collate([one], tiny_mllm), uniforms(5, [7 + index], 4, 10), 1.0
        )
    ]
    assert together == alone
    assert len({tuple(ids) for ids in together}) > len(IMAGES)
    other_seed = sample(tiny_mllm, collate(encoded, tiny_mllm), uniforms(6, [7, 8, 9], 4, 10), 1.0)
    assert other_seed != together


def test_ended_candidates_are_dropped_without_a_trace(
    tiny_mllm: MLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = set(range(0, len(tiny_mllm.processor.tokenizer), 6))
    monkeypatch.setattr("flawsight.mllm.load.MLLM.end_tokens", ends)
    prompts = collate([encode_image(tiny_mllm, image, SETTINGS) for image in IMAGES], tiny_mllm)
    numbers = uniforms(1, [0, 1, 2], 6, 20)
    found = sample(tiny_mllm, prompts, numbers, 1.0)
    assert len({len(ids) for ids in found}) > 4
    for ids in found:
        assert not ends & set(ids[:-1])
        assert ids[-1] in ends or len(ids) == 20
    monkeypatch.setattr("flawsight.cgro.rollouts._WORTH_DROPPING", 0)
    assert sample(tiny_mllm, prompts, numbers, 1.0) == found


@given(data=st.data())
def test_a_cache_with_room_holds_what_a_dynamic_one_does(data: st.DataObject) -> None:
    """Whatever its sequences go through; what it gave out before stays what it was."""
    config = tiny_config(tiny_tokenizer()).get_text_config()
    caches = growable_cache(config), DynamicCache(config=config)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    batch, given_out = data.draw(st.integers(1, 3)), []
    with patch("flawsight.cgro.growable_cache.ROOM", data.draw(st.integers(0, 4))):
        for _ in range(data.draw(st.integers(1, 8))):
            new = torch.randn(2, batch, 2, data.draw(st.integers(1, 3)), 4, generator=generator)
            held, expected = (cache.update(new[0], new[1], 1) for cache in caches)
            given_out.append((held, expected))
            assert caches[0].get_seq_length(1) == caches[1].get_seq_length(1)
            match data.draw(st.sampled_from(["repeat", "select", "go on"])):
                case "repeat":
                    batch *= 2
                    for cache in caches:
                        cache.batch_repeat_interleave(2)
                case "select":
                    rows = data.draw(st.sets(st.integers(0, batch - 1), min_size=1))
                    batch = len(rows)
                    for cache in caches:
                        cache.batch_select_indices(torch.tensor(sorted(rows)))
    for held, expected in given_out:
        assert all(map(torch.equal, held, expected))


@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=9),
    number=st.floats(0, 1, exclude_max=True),
)
def test_a_draw_inverts_the_cumulative_distribution(logits: list[float], number: float) -> None:
    values = torch.tensor([[*logits, -1e30]])
    token = int(draw(values, torch.tensor([number], dtype=torch.float64)))
    p = values[0].softmax(0).double()
    assert token < len(logits)
    assert p[:token].sum() <= number * p.sum() + 1e-9
    assert p[: token + 1].sum() > number * p.sum() - 1e-9


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])
    numbers = torch.rand(40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = draw(logits.expand(len(numbers), -1), numbers)
    shares = torch.bincount(drawn, minlength=4) / len(numbers)
    torch.testing.assert_close(shares, logits.softmax(0), atol=0.01, rtol=0)


def test_nan_is_an_error() -> None:
    with pytest.raises(ModelError, match="NaN"):
        draw(torch.tensor([[0.0, float("nan")]]), torch.zeros(1))
