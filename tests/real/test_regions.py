"""Regions with their phrases."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flawsight.inspection import Region
from flawsight.mllm.contradiction import fault_phrases
from flawsight.real.regions import cover, regions_of, tie_phrases


def blob(grid: tuple[int, int], at: tuple[int, int]) -> np.ndarray:
    one = np.full(grid, 0.1, np.float32)
    one[at] = 5.0
    return one


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_counts_are_those_of_coco(mask: np.ndarray) -> None:
    codec = pytest.importorskip("pycocotools.mask")
    for region in regions_of(mask.astype(np.float32), 0.5):
        height, width = region.image_size
        rle = codec.frPyObjects(
            {"size": [height, width], "counts": list(region.counts)}, height, width
        )
        np.testing.assert_array_equal(codec.decode(rle).astype(bool), region.mask)
        assert Region.from_json(json.loads(json.dumps(region.to_json())), (height, width)) == region


@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_cover_is_the_share_of_a_cell_s_pixels(mask: np.ndarray, grid: tuple[int, int]) -> None:
    for region in regions_of(mask.astype(np.float32), 0.5):
        shares = cover(region, grid)
        for row in range(grid[0]):
            for column in range(grid[1]):
                cell = [
                    region.mask[y, x]
                    for y in range(mask.shape[0])
                    for x in range(mask.shape[1])
                    if y * grid[0] // mask.shape[0] == row
                    and x * grid[1] // mask.shape[1] == column
                ]
                assert shares[row, column] == pytest.approx(np.mean(cell) if cell else 0)


def test_two_defects_get_the_sentences_that_look_at_them() -> None:
    upper, lower = blob((5, 5), (0, 4)), blob((5, 5), (4, 0))
    maps = np.stack([upper, upper, lower, lower, np.ones((5, 5), np.float32)])
    regions = list(regions_of(np.kron(upper + lower, np.ones((10, 10), np.float32)), 2.0))
    said = [("A dent.", [2, 3]), ("A scratch.", [0, 1]), ("All else is even.", [4])]
    first, second = tie_phrases(regions, maps, said)
    assert (first.box, first.phrases, first.tokens) == ((40, 0, 10, 10), "A scratch.", (0, 1))
    assert (second.phrases, second.tokens) == ("A dent.", (2, 3))


def test_two_sentences_do_not_both_go_to_the_region_all_words_look_at() -> None:
    strong, weak = 2 * blob((5, 5), (0, 0)), blob((5, 5), (4, 4))
    maps = np.stack([strong, strong + weak])
    regions = list(regions_of(np.kron(strong + weak, np.ones((4, 4), np.float32)), 3.0))
    first, second = tie_phrases(regions, maps, [("A hole.", [0]), ("A stain.", [1])])
    assert (first.phrases, second.phrases) == ("A hole.", "A stain.")


def test_a_flat_look_ties_nothing() -> None:
    regions = list(regions_of(np.eye(4, dtype=np.float32), 0.5))
    tied = tie_phrases(regions, np.ones((1, 4, 4), np.float32), [("A crack.", [0])])
    assert [region.phrases for region in tied] == [""]
    assert tie_phrases(regions, np.ones((1, 4, 4), np.float32), []) == tuple(regions)
    assert tie_phrases([], np.ones((1, 4, 4), np.float32), [("A crack.", [0])]) == ()


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        (
            "  A metal plate. There is a dent in it.  No scratch is seen! A hole is there. ",
            ["There is a dent in it.", "A hole is there."],
        ),
        (
            "There is a dark stain in the center and a scratch in the upper left, which should not "
            "be there.",
            [
                "There is a dark stain in the center",
                "a scratch in the upper left, which should not be there.",
            ],
        ),
        ("It has a dent, a hole, and a bent pin.", ["It has a dent", "a hole", "a bent pin."]),
        (
            "A plate and a crack in the middle and the corner.",
            ["A plate and a crack in the middle and the corner."],
        ),
        ("", []),
        ("  ", []),
    ],
)
def test_phrases_of_a_fault(text: str, phrases: list[str]) -> None:
    assert [text[a:b] for a, b in fault_phrases(text)] == phrases
