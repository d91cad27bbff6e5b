"""What photos of a reference say about themselves, on photos whose vectors are made up."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from flawsight.reference.advice import (
    concerns,
    each_another,
    odd_photos,
    photo_distances,
    size_concern,
    two_groups,
)
from flawsight.reference.memory import Reference, _distances_within

SHAPE, WIDTH = (8, 8), 256


def png(level: int = 120) -> bytes:
    content = io.BytesIO()
    noise = np.random.default_rng(level).integers(-9, 9, (20, 20, 3))
    Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def reference_of(vectors: list[Tensor], pictures: list[bytes] | None = None) -> Reference:
    names = [f"{index}.png" for index in range(len(vectors))]
    return Reference.of(
        names, pictures or [png()] * len(vectors), vectors, blocks=(1,), settings={},
        model_sha256="abc",
    )  # fmt: skip


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def structured(seed: int) -> Tensor:
    """A part whose places all look different, (8, 8, 256)."""
    return unit(torch.randn(*SHAPE, WIDTH, generator=torch.Generator().manual_seed(seed)))


def like(part: Tensor, count: int, noise: float = 0.02, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed + 100)
    return [unit(part + noise * torch.randn(part.shape, generator=generator)) for _ in range(count)]


def test_distances_between_photos_are_those_of_their_patches() -> None:
    photos = [structured(seed) for seed in range(3)]
    found = photo_distances(reference_of(photos))
    for row, one in enumerate(photos):
        for column, other in enumerate(photos):
            halves = one.half().float().flatten(0, 1), other.half().float().flatten(0, 1)
            expected = torch.cdist(*halves).min(dim=1).values.mean()
            if row == column:
                expected = _distances_within(one.half().float()).mean()
            assert float(found[row, column]) == pytest.approx(float(expected), abs=1e-3)


def test_a_photo_with_a_strange_place_is_named() -> None:
    photos = like(structured(0), 9)
    assert odd_photos(reference_of(photos)) == []
    photos[4][2, 3] = -photos[4][2, 3]
    assert odd_photos(reference_of(photos)) == ["4.png"]
    assert "Unlike the others: 4.png" in " ".join(concerns(reference_of(photos), {}))
    assert odd_photos(reference_of(photos[:4])) == []


def test_two_products_are_told_apart_and_one_is_not_split() -> None:
    first, second = like(structured(0), 6), like(structured(1), 4, seed=1)
    order = [first[0], second[0], *first[1:], *second[1:]]
    assert two_groups(photo_distances(reference_of(order))) == ([0, 2, 3, 4, 5, 6], [1, 7, 8, 9])
    assert two_groups(photo_distances(reference_of(first))) is None
    assert two_groups(photo_distances(reference_of([*first, second[0]]))) is None
    said = " ".join(concerns(reference_of(order), {}))
    assert "two groups that lie far apart: 6 like 0.png, and 4 like 1.png" in said


def test_photos_of_other_parts_each_are_told_from_parts_and_surfaces() -> None:
    repeating = [torch.cat([structured(seed)[:, :4]] * 2, dim=1) for seed in range(6)]
    boards = reference_of(repeating)
    assert each_another(boards, photo_distances(boards))
    assert "another part" in " ".join(concerns(boards, {}))
    same = reference_of(like(structured(0), 6))
    assert not each_another(same, photo_distances(same))
    # Patches of a surface are all alike: other photos are no farther than the photo itself.
    surface = reference_of([unit(1 + 0.3 * torch.randn(*SHAPE, WIDTH)) for _ in range(6)])
    assert not each_another(surface, photo_distances(surface))


def test_another_light_is_named() -> None:
    photos = like(structured(0), 6)
    same = [png(level) for level in (110, 115, 120, 125, 130, 118)]
    assert concerns(reference_of(photos, same), {}) == []
    (said,) = concerns(reference_of(photos, [*same[:5], png(40)]), {})
    assert said.startswith("1 of 6 photos are much darker or brighter than the others (5.png)")


def test_another_size_is_named() -> None:
    sizes = {"a": (640, 480), "b": (640, 470), "c": (700, 520)}
    assert size_concern(sizes) is None
    assert "1 of 4 photos have another size" in str(size_concern(sizes | {"d": (64, 48)}))
    assert "(e)" in str(size_concern(sizes | {"e": (480, 640)}))
    assert size_concern({}) is None


def test_one_photo_promises_nothing() -> None:
    (said,) = concerns(reference_of([structured(0)]), {})
    assert said.startswith("One photo promises no rate")
