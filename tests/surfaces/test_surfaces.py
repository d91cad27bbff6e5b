"""The rendered surfaces keep their promises for every family, defect, size and difficulty."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from flawsight_surfaces import (
    DEFECTS,
    FAMILIES,
    TEST_DEFECTS,
    TEST_FAMILIES,
    TRAIN_DEFECTS,
    TRAIN_FAMILIES,
    VALIDATION_FAMILIES,
    SurfaceSample,
    family_named,
    render_pair,
)
from flawsight_surfaces.defects.defect_table import suitable
from flawsight_surfaces.drawing.geometry import draw_view
from flawsight_surfaces.families.family_table import PHOTO_FAMILIES
from flawsight_surfaces.features.feature_table import FEATURES
from flawsight_surfaces.words import COLORS, TONES, color_word, place_word, tone_word


def _check(normal: SurfaceSample, defective: SurfaceSample, size: tuple[int, int]) -> None:
    for sample in (normal, defective):
        assert sample.image.shape == (*size, 3)
        assert sample.image.dtype == np.uint8
        assert sample.gt_mask.shape == size
        assert sample.gt_mask.dtype == np.bool_
    assert normal.family == defective.family
    assert (normal.label, normal.defect, normal.tone, normal.place) == (0, None, None, None)
    assert not normal.gt_mask.any()
    assert defective.label == 1
    masks = [region.mask for region in defective.defects]
    assert np.array_equal(np.sum(masks, axis=0), defective.gt_mask)  # so they are disjoint
    shares = [region.share for region in defective.defects]
    assert shares == sorted(shares, reverse=True)
    for region in defective.defects:
        assert region.kind in DEFECTS
        assert region.tone is None or region.tone in TONES
        assert region.mask.any()
        assert region.place == place_word(region.mask)
    for sample in (normal, defective):
        _check_facts(sample)


def _check_facts(sample: SurfaceSample) -> None:
    height, width = sample.gt_mask.shape
    assert sample.color is None or sample.color in COLORS
    assert sample.count is None or sample.count >= 0
    for feature in sample.features:
        assert feature.kind in FEATURES
        top, left, bottom, right = feature.box
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        assert feature.count >= 1
        place = feature.place or ""
        if "edge" in place:
            side = place.split()[2]
            middle = {"upper": bottom / height, "lower": 1 - top / height,
                      "left": right / width, "right": 1 - left / width}[side]  # fmt: skip
            assert middle < 0.5


def _difference(normal: SurfaceSample, defective: SurfaceSample) -> np.ndarray:
    return np.abs(normal.image.astype(int) - defective.image.astype(int)).mean(axis=2)


def _photo() -> np.ndarray:
    """A picture that no family draws: magenta, with green stripes."""
    photo = np.full((60, 80, 3), (200, 30, 180), np.uint8)
    photo[:, ::8] = (30, 220, 40)
    return photo


@pytest.mark.parametrize("family", [*FAMILIES, *PHOTO_FAMILIES])
def test_every_suitable_defect_renders_on_every_family(family: str) -> None:
    size = (67, 101)
    material = family_named(family).material
    kinds = [name for name, d in DEFECTS.items() if material in d.materials]
    photo = _photo() if family in PHOTO_FAMILIES else None
    for number, defect in enumerate(kinds):
        rng = np.random.default_rng(number)
        normal, defective = render_pair(rng, size, family=family, defect=defect, photo=photo)
        _check(normal, defective, size)
        assert defective.family == family
        # Thin parts have no room for things of which one could be missing.
        assert defective.defect == defect or DEFECTS[defect].of_items


@pytest.mark.parametrize("defect", DEFECTS)
def test_twins_differ_at_the_defect_and_nowhere_else(defect: str) -> None:
    families = [n for n, f in FAMILIES.items() if f.material in DEFECTS[defect].materials]
    for number in range(6):
        rng = np.random.default_rng(number)
        family = families[number % len(families)]
        # At difficulty 0 the camera adds neither noise nor JPEG artefacts.
        twins = render_pair(rng, (128, 160), family=family, defect=defect, difficulty=0.0)
        change = _difference(*twins)
        mask = twins[1].gt_mask
        # The soft rim of a defect and the blur reach a little past the mask.
        wide = np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(25)))
        assert change[wide == 0].max(initial=0) <= 6, family
        assert change[mask].mean() > 10, family


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    short=st.integers(64, 120),
    ratio=st.floats(1, 3),
    tall=st.booleans(),
    difficulty=st.floats(0, 1),
    defects=st.integers(1, 4),
)
def test_any_size_and_difficulty(
    seed: int, short: int, ratio: float, tall: bool, difficulty: float, defects: int
) -> None:
    long = int(short * ratio)
    size = (long, short) if tall else (short, long)
    twins = render_pair(np.random.default_rng(seed), size, difficulty=difficulty, defects=defects)
    assert 1 <= len(twins[1].defects) <= defects
    _check(*twins, size)
    assert twins[0].family in TRAIN_FAMILIES
    assert FAMILIES[twins[0].family].material in DEFECTS[str(twins[1].defect)].materials
    again = render_pair(np.random.default_rng(seed), size, difficulty=difficulty, defects=defects)
    for first, second in zip(twins, again, strict=True):
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.gt_mask, second.gt_mask)
        assert (first.tone, first.place) == (second.tone, second.place)


def test_photos_are_surfaces_and_backgrounds_and_defects_on_them_are_exact() -> None:
    families, magenta = [], {"surface": 0, "background": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        twins = render_pair(rng, (96, 112), difficulty=0.0, photo=_photo())
        _check(*twins, (96, 112))
        if twins[0].family in PHOTO_FAMILIES:
            change, mask = _difference(*twins), Image.fromarray(twins[1].gt_mask).convert("L")
            wide = np.asarray(mask.filter(ImageFilter.MaxFilter(25)))
            assert change[wide == 0].max(initial=0) <= 6
        red, green, blue = (twins[0].image[..., c].astype(int) for c in range(3))
        shown = float(((red > green + 60) & (blue > green + 60)).mean()) > 0.15
        families.append(twins[0].family)
        magenta["surface" if families[-1] in PHOTO_FAMILIES else "background"] += shown
    on_photos = sum(family in PHOTO_FAMILIES for family in families)
    assert 20 < on_photos < 40
    assert magenta["surface"] > 0.5 * on_photos  # others are in black and white
    assert magenta["background"] > 8


def test_a_part_of_a_view_is_the_part_of_the_whole_view() -> None:
    rng = np.random.default_rng(0)
    box = np.s_[30:90, 101:]
    for _ in range(8):
        view = draw_view(rng, 150, 200, 1.0)
        surface = rng.random((*view.canvas, 3), dtype=np.float32)
        assert np.array_equal(view.image(surface)[box], view.image(surface, box))


def test_even_hard_defects_change_the_image() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        normal, defective = render_pair(rng, (96, 96), difficulty=1.0)
        change = _difference(normal, defective)
        mask = defective.gt_mask
        assert change[mask].mean() > 5, (defective.family, defective.defect)


def test_largest_size_renders() -> None:
    size = (1024, 1024)
    _check(*render_pair(np.random.default_rng(1), size, family="concrete", defect="crack"), size)


def test_splits_are_disjoint_and_cover_all() -> None:
    splits = [*TRAIN_FAMILIES, *VALIDATION_FAMILIES, *TEST_FAMILIES]
    assert len(splits) == len(set(splits))
    assert set(splits) == set(FAMILIES)
    assert len(VALIDATION_FAMILIES) == 9
    assert len(TEST_FAMILIES) == 16


def test_every_family_suits_some_defects() -> None:
    for family in FAMILIES.values():
        assert sum(family.material in defect.materials for defect in DEFECTS.values()) >= 8


@pytest.mark.parametrize(
    ("row", "column", "word"),
    [(1, 1, "upper left"), (1, 30, "upper center"), (30, 1, "middle left"), (30, 30, "center"),
     (30, 58, "middle right"), (58, 1, "lower left"), (58, 58, "lower right")],
)  # fmt: skip
def test_place_word(row: int, column: int, word: str) -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[row, column] = True
    assert place_word(mask) == word


def test_a_ring_is_placed_where_it_is_and_not_in_its_middle() -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[5:55, 5:10] = mask[5:55, 50:55] = mask[50:55, 5:55] = True
    assert place_word(mask) != "center"


@pytest.mark.parametrize(
    ("color", "word"),
    [((0.2, 0.2, 0.2), "dark"), ((0.9, 0.9, 0.9), "bright"), ((0.8, 0.3, 0.3), "reddish"),
     ((0.3, 0.3, 0.8), "bluish"), ((0.3, 0.7, 0.35), "greenish"), ((0.5, 0.5, 0.5), None)],
)  # fmt: skip
def test_tone_word(color: tuple[float, float, float], word: str | None) -> None:
    normal = np.full((40, 40, 3), 0.5, np.float32)
    mask = np.zeros((40, 40), np.bool_)
    mask[10:20, 10:20] = True
    defective = normal.copy()
    defective[mask] = color
    assert tone_word(normal, defective, mask) == word


def test_held_out_defects_are_drawn_only_when_named() -> None:
    assert set(TRAIN_DEFECTS) | set(TEST_DEFECTS) == set(DEFECTS)
    assert not set(TRAIN_DEFECTS) & set(TEST_DEFECTS)
    rng = np.random.default_rng(3)
    for _ in range(30):
        _, defective = render_pair(rng, (64, 64), defects=4)
        assert not {region.kind for region in defective.defects} & set(TEST_DEFECTS)


def test_a_named_defect_must_suit_a_named_family() -> None:
    with pytest.raises(ValueError, match="short circuit"):
        render_pair(np.random.default_rng(0), family="leather", defect="short circuit")
    family = render_pair(np.random.default_rng(0), (64, 64), defect="short circuit")[0].family
    assert "short circuit" in suitable(FAMILIES[family].material)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(64, 300), width=st.integers(64, 300))
def test_no_view_shows_a_border(seed: int, height: int, width: int) -> None:
    view = draw_view(np.random.default_rng(seed), height, width, 1.0)
    seen = view.field(np.ones(view.canvas, np.float32))
    assert seen.shape == (height, width)
    assert seen.min() > 0.99
    shown = view.shown()
    assert shown is None or 0.3 < shown.mean() < 1


def test_features_are_as_many_as_asked_for_at_most() -> None:
    rng = np.random.default_rng(11)
    for number in (0, 1, 3):
        for _ in range(12):
            for sample in render_pair(rng, (120, 120), features=number):
                assert len(sample.features) <= number
    assert not any(
        render_pair(rng, (80, 80), difficulty=0.0)[0].features for _ in range(12)
    )  # at difficulty 0 none is drawn


def test_a_compact_feature_lies_in_the_cell_it_is_said_to_lie_in() -> None:
    rng, seen = np.random.default_rng(2), 0
    for _ in range(60):
        sample = render_pair(rng, (150, 150), features=3)[0]
        for feature in sample.features:
            top, left, bottom, right = feature.box
            words = (feature.place or "").split()
            if len(words) == 2 and max(bottom - top, right - left) < 30:
                seen += 1
                y, x = (top + bottom) / 300, (left + right) / 300
                low, high = {"upper": (0, 0.34), "middle": (0.32, 0.68), "lower": (0.66, 1)}[
                    words[0]
                ]
                assert low - 0.04 < y < high + 0.04
                low, high = {"left": (0, 0.34), "center": (0.32, 0.68), "right": (0.66, 1)}[
                    words[1]
                ]
                assert low - 0.04 < x < high + 0.04
    assert seen > 5


def test_color_words_hold_for_the_mean_pixel() -> None:
    hues = {"red": 0, "orange": 30, "brown": 25, "yellow": 57, "green": 120, "blue": 220,
            "purple": 285, "pink": 335}  # fmt: skip
    rng, seen = np.random.default_rng(4), set()
    for family in ("painted metal", "felt", "glossy plastic", "anodised metal", "leather") * 8:
        sample = render_pair(rng, (64, 64), family=family, features=0, difficulty=0.5)[0]
        if sample.color is None or sample.background:
            continue
        seen.add(sample.color)
        red, green, blue = sample.image.reshape(-1, 3).mean(axis=0) / 255
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        if sample.color in hues:
            gap = abs(hue * 360 - hues[sample.color]) % 360
            assert min(gap, 360 - gap) < 50, sample.color
            assert saturation > 0.2
        else:
            assert saturation < 0.25 or value < 0.25, sample.color
    assert len(seen) > 4


@pytest.mark.parametrize(
    ("color", "word"),
    [((128, 128, 128), "gray"), ((250, 250, 250), "white"), ((10, 10, 12), "black"),
     ((200, 30, 30), "red"), ((120, 75, 40), "brown"), ((240, 225, 40), "yellow"),
     ((40, 150, 60), "green"), ((40, 80, 200), "blue"), ((130, 40, 160), "purple")],
)  # fmt: skip
def test_color_word(color: tuple[int, int, int], word: str) -> None:
    pixels = np.full((50, 3), color, np.uint8)
    assert color_word(pixels) == word
    pixels[:30] = (255, 0, 160)
    assert color_word(pixels) != word


def test_things_are_counted_with_the_missing_one_left_out() -> None:
    seen = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        family = ("tablet array", "lids", "washers")[seed % 3]
        normal, defective = render_pair(
            rng, (160, 160), family=family, defect="missing component", features=0, difficulty=0.3
        )
        if normal.count is not None and defective.count is not None:
            seen += 1
            assert defective.count == normal.count - 1
    assert seen > 10


def test_a_scan_has_two_tones_and_masks_exactly_what_changed() -> None:
    seen = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        normal, defective = render_pair(rng, (128, 128), family="comb electrode", defects=2)
        if set(np.unique(normal.image)) == {0, 255}:
            seen += 1
            changed = (normal.image != defective.image).any(axis=2)
            assert np.array_equal(changed, defective.gt_mask)
    assert 4 < seen < 20


def test_twins_share_their_noise_about_half_the_time() -> None:
    same = 0
    for seed in range(40):
        normal, defective = render_pair(np.random.default_rng(seed), (96, 96), family="rubber")
        same += _difference(normal, defective)[~defective.gt_mask].mean() < 0.3
    assert 8 < same < 36
