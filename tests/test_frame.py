"""Regions of interest as text, their place in photos, and arrays moved between the two frames."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from flawsight.errors import ImageError, SettingsError
from flawsight.frame import Frame, cells_inside, frame_of, grid_in_whole, in_whole, masked
from flawsight.inspection import FloatArray
from flawsight.io.images import Photo
from flawsight.io.photo_roi import cut_photo, read_roi
from flawsight.real.regions import in_photo, regions_of
from flawsight.roi import Roi
from helpers.checkpoints import photo


@st.composite
def framed_maps(draw: st.DrawFn) -> tuple[Frame, FloatArray]:
    """Return a frame, maybe with a mask, and a map of its box."""
    height, width = draw(st.integers(4, 24)), draw(st.integers(4, 24))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    across, down = draw(st.integers(1, width - left)), draw(st.integers(1, height - top))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    inside = rng.random((down, across)) < 0.7 if draw(st.booleans()) else None
    values = rng.random((down, across)).astype(np.float32)
    return Frame((height, width), (left, top, across, down), inside), values


@given(framed_maps())
def test_maps_and_regions_are_where_they_were_in_the_box(case: tuple[Frame, FloatArray]) -> None:
    frame, values = case
    (height, width), (left, top, across, down) = frame.image_size, frame.box
    own = masked(values, frame)
    whole = in_whole(own, frame)
    for y in range(height):
        for x in range(width):
            row, column = y - top, x - left
            there = 0 <= row < down and 0 <= column < across
            there = there and (frame.inside is None or bool(frame.inside[row, column]))
            assert whole[y, x] == (values[row, column] if there else 0)
    # What is found in the box and moved is what is found in the whole map.
    moved, direct = in_photo([*regions_of(own, 0.6)], frame), [*regions_of(whole, 0.6)]
    assert {*moved} == {*direct}
    assert len(moved) == len(direct)


@given(
    st.tuples(st.floats(0, 60), st.floats(0, 60), st.floats(0.1, 40), st.floats(0.1, 40)),
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
)
def test_a_box_in_percent_lies_in_any_photo(
    box: tuple[float, ...], image_size: tuple[int, int]
) -> None:
    roi = Roi.parse(",".join(f"{number:.3f}%" for number in box))
    left, top, width, height = roi.box_in(image_size)
    assert 0 <= left < left + width <= image_size[1]
    assert 0 <= top < top + height <= image_size[0]
    for start, extent, share, length, side in (
        (left, width, box[0], box[2], image_size[1]),
        (top, height, box[1], box[3], image_size[0]),
    ):
        assert abs(start - share * side / 100) <= 1.01
        assert abs(start + extent - (share + length) * side / 100) <= 1.51  # a pixel at least


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3", "LEFT,TOP,WIDTH,HEIGHT"),
        ("10%,10,5,5", "LEFT,TOP,WIDTH,HEIGHT"),
        ("-1,2,3,4", "LEFT,TOP,WIDTH,HEIGHT"),
        ("1.5,2,3,4", "whole numbers"),
        ("1,2,0,4", "empty"),
        ("50%,0%,51%,10%", "leaves the photo"),
        ("nowhere.png", "LEFT,TOP,WIDTH,HEIGHT"),
        ("mask:8x8:AAAA", "damaged mask"),
        ("mask:8x8:eJxjYGAAAAADAAE=", "damaged mask"),
    ],
)
def test_what_is_no_region_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_roi(text)


def test_a_box_that_leaves_the_photo_is_an_error_of_that_photo() -> None:
    with pytest.raises(ImageError, match="leaves the photo of 30×20"):
        cut_photo(Photo(photo(20, 30)), "10,10,21,5")
    assert cut_photo(Photo(photo(20, 30)), "10,10,20,5")[0].image.size == (20, 5)


def disc(folder: Path, width: int, height: int) -> Path:
    image = Image.new("L", (width, height))
    box = (width // 4, height // 4, width * 3 // 4, height * 3 // 4)
    ImageDraw.Draw(image).ellipse(box, fill=255)
    image.save(folder / "mask.png")
    return folder / "mask.png"


def test_a_mask_is_kept_to_the_pixel_and_scaled_to_the_photo(tmp_path: Path) -> None:
    path = disc(tmp_path, 61, 40)
    white = np.asarray(Image.open(path)) > 0
    roi = Roi.parse(read_roi(path))
    same = frame_of(roi, (40, 61))
    assert same.inside is not None
    assert np.array_equal(in_whole(same.inside.astype(np.float32), same) > 0, white)
    twice = frame_of(roi, (80, 122))
    assert twice.inside is not None
    large = in_whole(twice.inside.astype(np.float32), twice) > 0
    assert np.array_equal(large, white.repeat(2, 0).repeat(2, 1))
    with pytest.raises(ImageError, match="another aspect"):
        frame_of(roi, (61, 40))


def test_nothing_outside_of_a_mask_is_seen(tmp_path: Path) -> None:
    text = read_roi(disc(tmp_path, 60, 40))
    first = photo(40, 60)
    white = np.asarray(Image.open(tmp_path / "mask.png")) > 0
    pixels = np.array(first)
    pixels[~white] = 0
    seen, frame = cut_photo(Photo(first), text)
    other, _ = cut_photo(Photo(Image.fromarray(pixels)), text)
    assert seen.image.tobytes() == other.image.tobytes()
    assert frame is not None
    assert frame.inside is not None
    left, top, width, height = frame.box
    cut = np.asarray(first)[top : top + height, left : left + width]
    assert np.array_equal(np.asarray(seen.image)[frame.inside], cut[frame.inside])


def test_an_empty_mask_is_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    with pytest.raises(SettingsError, match="no pixel is white"):
        read_roi(tmp_path / "black.png")


def test_cells_count_that_are_at_least_half_inside(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    mask[2, 2:4] = mask[3, 2] = 0  # leaves a quarter of the first cell
    mask[2, 4] = mask[3, 5] = 0  # leaves half of the second
    Image.fromarray(mask).save(tmp_path / "mask.png")
    counted = cells_inside(read_roi(tmp_path / "mask.png"), (2, 2))
    assert counted is not None
    assert counted.tolist() == [[False, True], [True, True]]
    assert cells_inside("1,1,5,5", (2, 2)) is None


def test_grids_are_shown_where_they_lie() -> None:
    grids = np.arange(1, 5, dtype=np.float32).reshape(1, 2, 2)
    whole = grid_in_whole(grids, (4, 2, 4, 4), (8, 8))
    expected = np.zeros((4, 4), np.float32)
    expected[1:3, 2:4] = grids[0]
    assert np.array_equal(whole, expected[None])
