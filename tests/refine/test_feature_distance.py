"""Feature distance: against scikit-learn, and as a step of a map."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import OAS

from flawsight.inspection import Crop, FloatArray, PatchEvidence
from flawsight.localize import localize
from flawsight.real.anomaly_map import density
from flawsight.refine.feature_distance import feature_distance, multiply_by_distance
from flawsight.settings import PRESETS
from helpers.traces import RESPONSE, make_trace


@pytest.mark.parametrize("shape", [(400, 12), (30, 40)])
def test_the_distance_is_scikit_learn_s(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(shape[1], shape[1], generator=generator)
    features = torch.randn(shape, generator=generator) @ mixed + 3
    distances = OAS().fit(features.double().numpy()).mahalanobis(features.double().numpy())
    expected = distances / distances.mean()
    np.testing.assert_allclose(feature_distance(features).numpy(), expected, rtol=1e-3)


def test_the_odd_one_out_is_far_and_among_equals_none_is() -> None:
    features = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    features[37] += 20
    assert int(feature_distance(features).argmax()) == 37
    assert torch.equal(feature_distance(torch.full((6, 4), 0.3)), torch.ones(6))
    assert feature_distance(features.index_fill(0, torch.tensor([3]), torch.nan)).isnan().all()


def test_mixed_precision_rounds_nothing() -> None:
    features = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = feature_distance(features)
    assert torch.equal(mixed, feature_distance(features))


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_the_distance_knows_neither_order_nor_scale_nor_zero(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(40, 6, generator=generator) * torch.arange(1.0, 7)
    order = torch.randperm(40, generator=generator)
    moved = scale * features[order] + torch.randn(6, generator=generator)
    torch.testing.assert_close(
        feature_distance(moved), feature_distance(features)[order], rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(feature_distance(features).mean(), torch.tensor(1.0))


def test_attention_is_multiplied_on_the_finer_grid() -> None:
    attention, far = torch.tensor([[1.0, 3.0]]), torch.tensor([[4.0, 1.0, 1.0, 1.0]])
    # Bilinear on areas: 1, 1.5, 2.5, 3.
    expected = torch.tensor([[4.0, 1.5, 2.5, 3.0]]) / 2.75
    torch.testing.assert_close(multiply_by_distance(attention, far), expected)
    assert torch.equal(multiply_by_distance(attention, None), density(attention))


def test_a_map_is_multiplied_only_if_the_setting_says() -> None:
    trace = make_trace(RESPONSE)
    far = torch.ones(6, 8)
    far[0, 0] = 50
    crop = Crop((0, 0, 20, 20), torch.ones(2, 2), 0.5, PatchEvidence(torch.eye(4) + 0.1))
    seen = replace(trace, patches=PatchEvidence(density(far)), crops=(crop,))

    def map_of(**changes: Any) -> FloatArray:
        settings = replace(PRESETS["paper"], **changes)
        return localize(seen, (30, 40), settings).anomaly_map

    assert map_of(feature_distance=True)[0, 0] > map_of()[0, 0]
    assert map_of(feature_distance=True)[15:, 20:].max() < map_of()[15:, 20:].max()
    gain = (map_of(feature_distance=True, crops=1) - map_of(crops=1))[5:20, 5:20]
    assert np.diagonal(gain).mean() > gain.mean()
