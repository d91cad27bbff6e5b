"""The memory of good photos: what it keeps, its own scores and thresholds, its file."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from flawsight.calibration import conformal_threshold
from flawsight.errors import CalibrationError, LearnError
from flawsight.reference import memory as memory_module
from flawsight.reference.compare import image_distance, on_scale
from flawsight.reference.coreset import greedy_coreset
from flawsight.reference.memory import Reference

MADE_WITH = {"blocks": (1,), "settings": {"image_tokens": 225}, "model_sha256": "abc"}


def some_vectors(count: int, seed: int = 0, shape: tuple[int, int] = (5, 6)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, 8, generator=generator) for _ in range(count)]


def reference_of(vectors: list[Tensor]) -> Reference:
    names = [f"{index}.png" for index in range(len(vectors))]
    return Reference.of(names, [name.encode() for name in names], vectors, **MADE_WITH)


def brute(vectors: Tensor, memory: Tensor) -> Tensor:
    return torch.cdist(vectors.flatten(0, 1), memory).min(dim=1).values.view(vectors.shape[:2])


def test_each_photo_is_compared_with_the_others() -> None:
    vectors = some_vectors(4)
    reference = reference_of(vectors)
    kept = [each.half().float() for each in vectors]
    for index, photo in enumerate(reference.photos):
        others = torch.cat([v.flatten(0, 1) for i, v in enumerate(kept) if i != index])
        torch.testing.assert_close(
            photo.distances, brute(vectors[index], others), rtol=1e-4, atol=1e-4
        )
    usual = np.mean([photo.distances.mean() for photo in reference.photos])
    assert reference.usual == pytest.approx(usual)
    expected = [on_scale(image_distance(photo.distances) / usual) for photo in reference.photos]
    assert reference.scores == pytest.approx(expected)


def test_a_new_image_is_compared_with_all() -> None:
    vectors, (new,) = some_vectors(3), some_vectors(1, seed=9, shape=(4, 7))
    reference = reference_of(vectors)
    distances, index = reference.compare(new)
    memory = torch.cat([v.flatten(0, 1) for v in vectors]).half().float()
    torch.testing.assert_close(
        distances * reference.usual, brute(new, memory), rtol=1e-4, atol=1e-4
    )
    photo, row, column = reference.places[int(index[2, 3])]
    nearest = vectors[photo][row, column]
    assert float((new[2, 3] - nearest).norm()) == pytest.approx(
        float(distances[2, 3]) * reference.usual, rel=1e-2
    )


def test_a_photo_of_the_memory_has_no_distance() -> None:
    vectors = some_vectors(3)
    distances, _ = reference_of(vectors).compare(vectors[1].half().float())
    assert float(distances.max()) == 0


def test_the_odd_photo_scores_highest() -> None:
    vectors = [some_vectors(1)[0] + 0.1 * noise for noise in some_vectors(6, seed=1)]
    vectors[4][2, 2] += 5
    assert int(np.argmax(reference_of(vectors).scores)) == 4


def test_one_photo_is_compared_with_places_far_away_in_it() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    (photo,) = reference_of([torch.stack([rows, columns], dim=-1)]).photos
    # The nearest place that is a quarter of the side away is two steps off.
    assert torch.equal(photo.distances, torch.full((8, 8), 2.0))
    assert reference_of([torch.stack([rows, columns], dim=-1)]).scores == []


@pytest.mark.parametrize(("count", "lowest"), [(2, 1 / 3), (16, 1 / 17), (150, 0.01)])
def test_the_rate_that_n_photos_can_promise(count: int, lowest: float) -> None:
    reference = reference_of(some_vectors(count, shape=(4, 4)))
    assert reference.lowest_rate == pytest.approx(lowest)
    rate = math.ceil(lowest * 10_000) / 10_000
    assert reference.threshold() == conformal_threshold(reference.scores, rate)
    with pytest.raises(CalibrationError, match="needs at least"):
        reference.threshold(lowest / 3)


@pytest.mark.parametrize("count", [3, 16])
def test_new_good_photos_are_called_defective_as_rarely_as_promised(count: int) -> None:
    """Over many draws of reference and new photo, all from one distribution."""
    alarms = []
    for seed in range(150):
        *photos, new = some_vectors(count + 1, seed=seed, shape=(4, 4))
        reference = reference_of(photos)
        distances, _ = reference.compare(new)
        score = on_scale(image_distance(distances))
        alarms.append(score > reference.threshold())
    promised = reference.lowest_rate
    assert np.mean(alarms) < promised + 2 * math.sqrt(promised * (1 - promised) / len(alarms))


@given(st.integers(0, 100), st.integers(2, 30))
def test_a_coreset_covers_all_about_as_well_as_can_be(seed: int, most: int) -> None:
    """Greedy k-center is at most twice as far as the best choice, so never worse than random."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(60, 4, generator=generator)
    kept = greedy_coreset(vectors, most)
    assert len(set(kept.tolist())) == len(kept) == most
    reach = torch.cdist(vectors, vectors[kept]).min(dim=1).values.max()
    for _ in range(5):
        drawn = vectors[torch.randperm(60, generator=generator)[:most]]
        assert reach <= 2 * torch.cdist(vectors, drawn).min(dim=1).values.max()


def test_a_coreset_of_copies_holds_each_once() -> None:
    assert len(greedy_coreset(torch.randn(4, 100).repeat(10, 1), 8)) == 4


def test_more_patches_than_the_largest_are_represented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "LARGEST", 40)
    vectors = some_vectors(3)
    reference = reference_of(vectors)
    assert reference.vectors.shape == (40, 8)
    for vector, (photo, row, column) in zip(reference.vectors, reference.places, strict=True):
        assert torch.equal(vector, vectors[photo][row, column].half())


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    reference = reference_of(some_vectors(3))
    reference.save(tmp_path / "line" / "3.reference")
    loaded = Reference.load(tmp_path / "line" / "3.reference")
    assert torch.equal(loaded.vectors, reference.vectors)
    assert np.array_equal(loaded.places, reference.places)
    assert loaded.sha256 == reference.sha256
    assert loaded.threshold() == reference.threshold()
    assert [vars(photo) | {"distances": photo.distances.tolist()} for photo in loaded.photos] == [
        vars(photo) | {"distances": photo.distances.tolist()} for photo in reference.photos
    ]
    for name in ("blocks", "settings", "model_sha256"):
        assert getattr(loaded, name) == getattr(reference, name)


def damaged(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    places = tensors["places"]
    changes: list[dict[str, Any]] = [
        {"vectors": tensors["vectors"][:-1]},
        {"vectors": torch.full_like(tensors["vectors"], torch.nan)},
        {"vectors": tensors["vectors"].flatten()},
        {"places": places.long()},
        {"places": places - 1},
        {"places": places + 2},
        {"distances_0": tensors["distances_0"].flatten()},
        {"distances_1": tensors["distances_1"] / 0},
        {"picture_1": None},
    ]
    return [
        {name: part for name, part in (tensors | change).items() if part is not None}
        for change in changes
    ]


@pytest.mark.parametrize("which", range(9))
def test_a_damaged_file_is_refused(which: int, tmp_path: Path) -> None:
    path = tmp_path / "a.reference"
    reference_of(some_vectors(2)).save(path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = file.metadata()
    save_file({k: v.contiguous() for k, v in damaged(load_file(path))[which].items()}, path, about)
    with pytest.raises(LearnError, match=r"damaged .*learn the photos again"):
        Reference.load(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"{}", b"\x80\x04."])
def test_another_file_is_no_reference(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.reference"
    path.write_bytes(content)
    with pytest.raises(LearnError, match="no readable reference"):
        Reference.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(LearnError, match="no readable reference"):
        Reference.load(path)
    with pytest.raises(LearnError, match="There is no reference"):
        Reference.load(tmp_path / "b.reference")


def test_what_does_not_fit_is_said() -> None:
    reference = reference_of(some_vectors(2))
    reference.check("abc", {"image_tokens": 225, "question": "…"})
    with pytest.raises(LearnError, match="another model"):
        reference.check("abd", {"image_tokens": 225})
    with pytest.raises(LearnError, match="image_tokens 225"):
        reference.check("abc", {"image_tokens": 400})
    other = replace(reference, vectors=reference.vectors + 1)
    assert other.sha256 != reference.sha256
