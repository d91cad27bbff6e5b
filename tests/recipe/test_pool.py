"""The pool of rendered pairs: sizes, orientations, files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pool
import pytest
from PIL import Image
from pool import CELL, Pool, draw_size, find_photos, flipped, render_part

from flawsight_surfaces import render_pair
from flawsight_surfaces.words import place_word

SETTINGS = {"pairs": 4, "areas": {84: 0.7, 112: 0.3}, "photo_share": 0.5}


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_flipped_image_keeps_its_facts(across: bool, down: bool, transposed: bool) -> None:
    rng = np.random.default_rng(4)
    for _ in range(6):
        _, sample = render_pair(rng, (96, 96), defects=2)
        turned = flipped(sample, across, down, transposed)
        for before, after in zip(sample.defects, turned.defects, strict=True):
            marked = np.repeat(before.mask[..., None], 3, axis=2).astype(np.uint8)
            image = flipped(replace(sample, image=marked), across, down, transposed).image
            mask = image[..., 0] > 0
            rows, columns = np.nonzero(mask)
            # A centroid on the border of two places may fall to either.
            if all(
                abs(3 * (c.mean() + 0.5) / 96 - b) > 0.02 for c in (rows, columns) for b in (1, 2)
            ):
                assert after.place == place_word(mask)


def test_sizes_are_cells_of_about_the_areas_and_half_of_them_squares() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([draw_size(rng, {336: 0.6, 252: 0.2, 420: 0.2}) for _ in range(2000)])
    assert not (sizes % CELL).any()
    square = sizes[:, 0] == sizes[:, 1]
    assert 0.46 < square.mean() < 0.54
    assert 0.56 < (sizes[square, 0] == 336).mean() < 0.66
    assert set(sizes[square, 0]) == {252, 336, 420}
    ratio = sizes[:, 0] / sizes[:, 1]
    assert ratio.min() >= 0.5
    assert ratio.max() <= 2
    assert (ratio < 0.7).any()
    assert (ratio > 1.4).any()
    areas = sizes.prod(axis=1)
    assert areas.min() > 0.89 * 252**2
    assert areas.max() < 1.11 * 420**2


def photos(folder: Path) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in ("a.jpg", "b.png"):
        pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).resize((120, 80)).save(folder / name)
    (folder / "README.md").write_text("no photo")
    return find_photos(folder)


def test_a_part_is_read_as_it_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def kept(*arguments: object) -> pool.Pair:
        drawn.append(draw_pair(*arguments))  # type: ignore[arg-type]
        return drawn[-1]

    draw_pair = pool.draw_pair
    monkeypatch.setattr(pool, "draw_pair", kept)
    files = photos(tmp_path / "photos")
    assert [file.name for file in files] == ["a.jpg", "b.png"]
    (tmp_path / "pool").mkdir()
    render_part(3, tmp_path / "pool", SETTINGS, files)
    (part,) = Pool.parts(tmp_path / "pool")
    pairs = list(Pool.read(part))
    assert len(pairs) == len(drawn) == 4
    for pair, original in zip(pairs, drawn, strict=True):
        assert [sample.label for sample in pair] == [0, 1]
        assert pair[0].image.shape == pair[1].image.shape
        assert not np.array_equal(pair[0].image, pair[1].image)
        for sample, source in zip(pair, original, strict=True):
            assert np.array_equal(sample.image, source.image)
            assert (sample.family, sample.features) == (source.family, source.features)
            assert [d.place for d in sample.defects] == [d.place for d in source.defects]


def test_rendering_again_gives_the_same_and_leaves_what_is_complete(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        render_part(0, tmp_path / name, SETTINGS | {"pairs": 2})
    first, second = (tmp_path / name / "0.rgb" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    written = first.stat().st_mtime_ns
    render_part(0, tmp_path / "first", SETTINGS)
    assert first.stat().st_mtime_ns == written
    (tmp_path / "second/0.pkl").unlink()  # stopped before the part was complete
    assert Pool.parts(tmp_path / "second") == []
    render_part(0, tmp_path / "second", SETTINGS | {"pairs": 2})
    assert first.read_bytes() == second.read_bytes()
