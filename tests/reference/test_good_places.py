"""The place in a good photo that a region should look like, where the right one is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawsight.inspection import GoodPicture, GoodPlace, Region
from flawsight.localize import judged, localize, with_good_places
from flawsight.real.regions import peak_region
from flawsight.reference.good_places import GoodPatches, good_place
from helpers.compared_runs import (
    DEFECT,
    NAMES,
    PATCHES,
    PICTURE,
    SETTINGS,
    SIZE,
    inspected,
    reference,
    vectors,
)


def test_patches_lie_where_they_were_taken() -> None:
    known = reference()
    patches = GoodPatches.of(known)
    assert [(one.name, one.size) for one in patches.pictures] == [(name, PICTURE) for name in NAMES]
    for vector, (photo, x, y) in zip(known.vectors, patches.centres, strict=True):
        expected = vectors(int(photo) + 1)[int(y // 8), int(x // 8)]
        assert (vector == expected.half()).all()
        assert (x % 8, y % 8) == (4, 4)


@pytest.mark.parametrize("asked", [True, False])
def test_a_defect_is_shown_where_the_part_is_good(asked: bool) -> None:
    """The part is one patch further right than in the good photos, of 8 pixels a patch there."""
    inspection = inspected(reference(), defective=True, asked=asked)
    (region,) = inspection.regions
    assert region.good is not None
    assert region.good.photo == NAMES[1]
    left, top, width, height = region.good.box
    centre = left + width / 2, top + height / 2
    row, column = DEFECT
    expected = 8 * (column - 1 + 1), 8 * (row + 1)
    assert centre == pytest.approx(expected, abs=2)
    # Three patches at least; the region is smaller.
    assert (width, height) == (24, 24)


def test_without_a_reference_there_is_no_place() -> None:
    inspection = inspected(reference(), defective=True, asked=True, good=None)
    assert inspection.regions[0].good is None
    assert inspection.nearest_good.size == 0
    assert "good" not in inspection.regions[0].to_json()


def test_a_verdict_turned_gives_the_same_places() -> None:
    inspection = inspected(reference(), defective=True, asked=False)
    good = judged(inspection, False)
    assert good.regions == ()
    assert judged(good, True).regions == inspection.regions


def test_regions_are_read_as_they_were_written() -> None:
    (region,) = inspected(reference(), defective=True, asked=True).regions
    again = Region.from_json(region.to_json(), SIZE)
    assert again == replace(region, score=round(region.score, 6))
    old = {name: value for name, value in region.to_json().items() if name != "good"}
    assert Region.from_json(old, SIZE).good is None


def region_of(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[Region, Any]:
    """A box as region of a map, whose peak is its upper left pixel."""
    left, top, width, height = box
    values = np.zeros(size, np.float32)
    values[top : top + height, left : left + width] = 0.9
    values[top, left] = 1
    region = peak_region(values, 0.5)
    assert region is not None
    return region, values


def shifted(
    across: int, down: int, photo: int, grid: tuple[int, int] = PATCHES, pitch: int = 8
) -> np.ndarray[Any, Any]:
    """The (h, w, 3) nearest patches of a photo that shows the part shifted by whole patches."""
    rows, columns = np.indices(grid)
    centres = [pitch * (columns + across + 0.5), pitch * (rows + down + 0.5)]
    return np.stack([np.full(grid, photo), *centres], axis=-1).astype(np.float32)


PICTURES = tuple(GoodPicture(f"{index}.png", PICTURE) for index in range(3))


def test_what_surrounds_a_defect_decides() -> None:
    """Patches of the defect itself point anywhere."""
    region, values = region_of((20, 20, 20, 10), SIZE)
    nearest = shifted(2, 1, photo=2)
    rng = np.random.default_rng(0)
    for row in range(4, 6):
        for column in range(4, 8):
            nearest[row, column] = rng.integers(0, 2), *rng.integers(0, 96, 2)
    place = good_place(region, values, nearest, PICTURES)
    # The region is 16 pixels high there, and the place three patches around the same middle.
    assert place == GoodPlace("2.png", (32 + 16, 32 + 8 - 4, 32, 24))


def test_on_a_texture_the_peak_decides() -> None:
    """Where every patch has another nearest place, the shift of the peak's is taken."""
    region, values = region_of((20, 20, 40, 30), SIZE)
    rng = np.random.default_rng(1)
    nearest = np.stack(
        [rng.choice([0, 2], PATCHES), *(rng.integers(0, side, PATCHES) for side in (128, 96))], -1
    ).astype(np.float32)
    nearest[4, 4] = 1, 8 * 5 + 4, 8 * 4 + 4  # one patch to the right, in photo 1
    place = good_place(region, values, nearest, PICTURES)
    assert place == GoodPlace("1.png", (32 + 8, 32, 64, 48))


@given(st.data())
def test_a_place_lies_in_its_picture_and_is_as_large_as_the_region(data: st.DataObject) -> None:
    height, width = size = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    left, top = data.draw(st.tuples(st.integers(0, width - 1), st.integers(0, height - 1)))
    across, down = data.draw(st.tuples(st.integers(1, width - left), st.integers(1, height - top)))
    grid = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    picture_size = data.draw(st.tuples(st.integers(1, 50), st.integers(1, 50)))
    values = np.zeros(size, np.float32)
    values[top : top + down, left : left + across] = 1
    region = Region(size, (left, top, across, down), across * down, 1.0, counts_of(values > 0))
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    nearest = np.stack(
        [np.zeros(grid), rng.random(grid) * picture_size[1], rng.random(grid) * picture_size[0]], -1
    ).astype(np.float32)
    (placed,) = with_good_places([region], values, nearest, (GoodPicture("a", picture_size),))
    assert placed.good is not None
    x, y, w, h = placed.good.box
    assert x >= 0
    assert y >= 0
    assert x + w <= picture_size[1]
    assert y + h <= picture_size[0]
    for side, share, cells, whole in (
        (w, across / width, grid[1], picture_size[1]),
        (h, down / height, grid[0], picture_size[0]),
    ):
        assert abs(side - min(1, max(share, 3 / cells)) * whole) <= 1


def counts_of(mask: np.ndarray[Any, Any]) -> tuple[int, ...]:
    turns = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False, append=False))
    return tuple(np.diff(turns, prepend=0, append=mask.size).tolist())


def test_many_patches_take_no_longer_to_vote() -> None:
    region, values = region_of((0, 0, 80, 60), SIZE)
    nearest = shifted(0, 0, photo=1, grid=(120, 160), pitch=1)
    sized = tuple(GoodPicture(f"{index}.png", (120, 160)) for index in range(3))
    assert good_place(region, values, nearest, sized) == GoodPlace("1.png", (0, 0, 160, 120))


def test_evidence_tells_its_sources() -> None:
    known = reference()
    asked = inspected(known, defective=True, asked=True)
    assert set(asked.evidence) == {"words", "reference"}
    assert asked.pred_score == asked.evidence["reference"]
    unasked = inspected(known, defective=True, asked=False)
    assert unasked.evidence == {"reference": asked.evidence["reference"]}
    assert (unasked.answer, unasked.explanation, unasked.contradiction) == (None, "", None)
    assert unasked.token_maps.shape == (0, 6, 8)


def test_crops_are_evidence_if_they_count_in_the_score() -> None:
    from flawsight.inspection import Crop
    from helpers.traces import RESPONSE, make_trace

    trace = make_trace(RESPONSE)
    attention = trace.image_attention[0]
    crops = tuple(Crop((0, 0, 10, 10), attention, score) for score in (0.2, 0.8, 0.99))
    settings = replace(SETTINGS, crops=2, score_crops=True)
    inspection = localize(replace(trace, crops=crops), (30, 40), settings)
    assert inspection.evidence["words"] == trace.answer_score
    assert inspection.evidence["crops"] == pytest.approx(0.5)  # of 0.2 and 0.8 by their log-odds
    odds = [share / (1 - share) for share in inspection.evidence.values()]
    merged = (odds[0] * odds[1]) ** 0.5
    assert inspection.pred_score == pytest.approx(merged / (1 + merged))
    off = localize(replace(trace, crops=crops), (30, 40), replace(settings, score_crops=False))
    assert off.evidence == {"words": off.pred_score}
