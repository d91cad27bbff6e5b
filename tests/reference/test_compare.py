"""Comparing patches with a memory, against scikit-learn and sums written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from flawsight.inspection import PatchEvidence
from flawsight.reference import compare
from flawsight.reference.compare import (
    image_distance,
    multiply_by_reference,
    nearest,
    on_scale,
    patch_vectors,
    reference_score,
    within,
)


@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_neighbours_are_scikit_learn_s(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "_AT_ONCE", chunk)
    generator = torch.Generator().manual_seed(0)
    memory, vectors = (torch.randn(n, 9, generator=generator) for n in (50, 30))
    distances, index = nearest(vectors, memory)
    found = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(memory.numpy())
    expected, which = found.kneighbors(vectors.numpy())
    np.testing.assert_allclose(distances.numpy(), expected[:, 0], rtol=1e-5)
    assert index.tolist() == which[:, 0].tolist()


def test_a_patch_of_the_memory_lies_at_zero() -> None:
    """Far from the origin, where a difference of squares would not be zero."""
    memory = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)) + 1000
    distances, index = nearest(memory[[3, 20]], memory)
    assert distances.tolist() == [0, 0]
    assert index.tolist() == [3, 20]


def test_vectors_are_half_their_neighbours_and_of_length_one() -> None:
    features = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 50
    vectors = patch_vectors(features)
    assert vectors.shape == (4, 5, 12)
    for row, column, rows, columns in [(0, 0, (0, 2), (0, 2)), (2, 3, (1, 4), (2, 5))]:
        for block in (0, 1):
            mean = features[block, slice(*rows), slice(*columns)].flatten(0, 1).mean(dim=0)
            mean = (mean + features[block, row, column]) / 2
            mean = mean - mean.mean()
            expected = mean / mean.norm()
            torch.testing.assert_close(vectors[row, column].view(2, 6)[block], expected)


@given(st.integers(0, 1000), st.floats(0.1, 100))
def test_vectors_know_neither_scale_nor_level(seed: int, scale: float) -> None:
    features = torch.randn(1, 3, 3, 5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        patch_vectors(scale * features + 3), patch_vectors(features), rtol=1e-3, atol=1e-4
    )


def test_an_image_is_as_far_as_its_farthest_percent() -> None:
    distances = torch.arange(400.0).view(20, 20)
    assert image_distance(distances) == (399 + 398 + 397 + 396) / 4
    assert image_distance(distances[:2, :3]) == 22
    assert reference_score(PatchEvidence(None, distances)) == on_scale(397.5)
    assert reference_score(PatchEvidence()) is None


def test_the_scale_is_that_of_maps() -> None:
    assert on_scale(1.0) == 0.2
    assert on_scale(4.0) == 0.5
    assert on_scale(math.inf) == 1.0


def test_a_density_is_multiplied_on_the_finer_grid() -> None:
    dense, far = torch.tensor([[1.0, 3.0]]), torch.tensor([[4.0, 1.0, 1.0, 0.5]])
    torch.testing.assert_close(
        multiply_by_reference(dense, far), torch.tensor([[4.0, 1.5, 2.5, 1.5]])
    )
    assert multiply_by_reference(dense, None) is dense


def test_distances_within_a_crop_are_those_of_the_upsampled_map() -> None:
    """A crop of 8 × 8 cells of the image, each of whose cells is one pixel."""
    far = torch.rand(6, 9, generator=torch.Generator().manual_seed(0))
    found = within(far, (20, 12, 8, 6), (36, 54), (6, 8))
    whole = Image.fromarray(far.numpy()).resize((54, 36), Image.Resampling.BILINEAR)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), np.asarray(whole)[12:18, 20:28], atol=1e-5)
    assert within(None, (0, 0, 1, 1), (36, 54), (6, 8)) is None
