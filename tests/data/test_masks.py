"""Ground-truth masks from files and annotations, turned and resized to their image."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from flawsight.data.dataset import Sample
from flawsight.data.masks import may_be_turned, read_gt_mask
from flawsight.errors import DatasetError

EXPECTED = np.array([[False, True, False], [False, False, True]])


def sample(mask: Path | None, label: int = 1) -> Sample:
    return Sample(Path("/photos/a.png"), label, "nut", "test", "crack", mask)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "RGBA"])
def test_a_mask_is_what_lies_above_zero(mode: str, tmp_path: Path) -> None:
    small = EXPECTED.astype(np.uint8) * 3
    if mode == "1":
        image = Image.fromarray(EXPECTED)
    elif mode == "I;16":
        image = Image.fromarray(small.astype(np.uint16) * 300)
    elif mode in ("RGB", "RGBA"):
        # In one channel alone; alpha, opaque everywhere, does not count.
        opaque = np.full_like(small, 255)
        zero = np.zeros_like(small)
        image = Image.fromarray(np.stack([zero, zero, small, opaque][: len(mode)], axis=2))
    else:
        image = Image.fromarray(small)
        if mode == "P":
            image.putpalette([0, 0, 0] * 256)
    assert image.mode == mode
    image.save(tmp_path / "mask.png")
    found = read_gt_mask(sample(tmp_path / "mask.png"), (2, 3))
    assert found.dtype == bool
    np.testing.assert_array_equal(found, EXPECTED)


def test_a_mask_that_does_not_fit_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(EXPECTED).save(path)
    with pytest.raises(DatasetError, match="is 3×2 pixels, its image 2×3"):
        read_gt_mask(sample(path), (3, 2))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DatasetError, match="Cannot read the mask"):
        read_gt_mask(sample(path))


def test_a_normal_image_has_an_empty_mask_of_the_given_size() -> None:
    np.testing.assert_array_equal(read_gt_mask(sample(None, 0), (2, 3)), np.zeros((2, 3), bool))
    with pytest.raises(DatasetError, match=r"size of /photos/a\.png is not known"):
        read_gt_mask(sample(None, 0))


# A mark that no turn and no mirroring leaves in its place.
STORED = np.zeros((12, 20), np.uint8)
STORED[1:4, 2:9] = 255
STORED[4:7, 2:4] = 255
ORIENTATIONS = range(1, 9)


def save(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels as Pillow does."""
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image)) > 0


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_mask_is_turned_by_its_own_exif(suffix: str, orientation: int, tmp_path: Path) -> None:
    path = save(tmp_path / f"mask{suffix}", STORED, orientation)
    expected = upright(STORED, orientation)
    found = read_gt_mask(sample(path), expected.shape)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mask_is_turned_with_its_photo_where_the_sizes_say_so(
    orientation: int, tmp_path: Path
) -> None:
    photo = save(tmp_path / "a.jpg", np.zeros_like(STORED), orientation)
    expected = upright(STORED, orientation)
    one = replace(sample(tmp_path / "mask.png"), image=photo)
    assert one.mask is not None
    Image.fromarray(expected).save(one.mask)
    np.testing.assert_array_equal(read_gt_mask(one, expected.shape), expected)
    assert may_be_turned(one, expected.shape) == (orientation in (2, 3, 4))
    if orientation > 4:
        for scale in (1, 3):
            Image.fromarray(np.kron(STORED, np.ones((scale, scale), np.uint8))).save(one.mask)
            np.testing.assert_array_equal(read_gt_mask(one, expected.shape), expected)
        # Pixels that are upright already, with the photo's EXIF copied along.
        save(one.mask, expected.astype(np.uint8), orientation)
        np.testing.assert_array_equal(read_gt_mask(one, expected.shape), expected)


def test_a_mask_of_the_same_aspect_ratio_is_resized_to_the_nearest_pixels(tmp_path: Path) -> None:
    one = sample(tmp_path / "mask.png")
    assert one.mask is not None
    for size in ((24, 40), (6, 10), (30, 50)):
        Image.fromarray(STORED).save(one.mask)
        nearest = Image.fromarray(STORED).resize(size[::-1], Image.Resampling.NEAREST)
        np.testing.assert_array_equal(read_gt_mask(one, size), np.asarray(nearest) > 0)
    for size in ((24, 44), (20, 12), (12, 24)):
        with pytest.raises(DatasetError, match="aspect ratio"):
            read_gt_mask(one, size)


def test_the_masks_of_a_folder_are_united(tmp_path: Path) -> None:
    folder = tmp_path / "000"
    folder.mkdir()
    with pytest.raises(DatasetError, match="holds no mask"):
        read_gt_mask(sample(folder), (12, 20))
    other = np.zeros((24, 40), np.uint8)
    other[20:22, 30:36] = 1
    Image.fromarray(STORED).save(folder / "000.png")
    Image.fromarray(other).save(folder / "001.png")
    (folder / "notes.txt").write_text("scratch")
    expected = STORED > 0
    expected[10, 15:18] = True
    np.testing.assert_array_equal(read_gt_mask(sample(folder), (12, 20)), expected)


def test_a_mask_is_turned_with_a_photo_that_xmp_turns(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    for orientation in ORIENTATIONS:
        xmp = f'<x><rdf:Description tiff:Orientation="{orientation}"/></x>'.encode()
        one = replace(annotated(tmp_path, 1, (12, 20)), image=tmp_path / "a.webp")
        Image.fromarray(STORED).save(one.image, xmp=xmp, lossless=True)
        expected = upright(STORED, orientation)
        np.testing.assert_array_equal(read_gt_mask(one, expected.shape), expected)


def annotated(tmp_path: Path, orientation: int, size: tuple[int, int] | None) -> Sample:
    photo = save(tmp_path / "a.jpg", np.zeros_like(STORED), orientation)
    polygon = ((2.0, 1.0), (9.0, 1.0), (9.0, 4.0), (4.0, 4.0), (4.0, 7.0), (2.0, 7.0))
    return replace(sample(None), image=photo, polygons=(polygon,), annotated_size=size)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_annotations_are_turned_with_their_photo(orientation: int, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    expected = upright(STORED, orientation)
    for size in ((12, 20), None):
        one = annotated(tmp_path, orientation, size)
        np.testing.assert_array_equal(read_gt_mask(one, expected.shape), expected)
    if orientation > 4:
        # The file says that its annotations are of the upright image.
        one = annotated(tmp_path, orientation, (20, 12))
        found = read_gt_mask(one, (20, 12))
        assert found.shape == (20, 12)
        np.testing.assert_array_equal(found[:12, :12], STORED[:, :12] > 0)
    with pytest.raises(DatasetError, match="annotations are of 30×20"):
        read_gt_mask(annotated(tmp_path, orientation, (20, 30)), expected.shape)


@given(
    st.lists(
        st.lists(st.floats(-30, 60, width=32), min_size=6, max_size=12).filter(
            lambda flat: len(flat) % 2 == 0
        ),
        max_size=3,
    ),
    st.lists(st.integers(0, 12 * 20 - 1), max_size=20),
)
def test_polygons_and_run_lengths_are_those_of_pycocotools(
    outlines: list[list[float]], pixels: list[int]
) -> None:
    codec = pytest.importorskip("pycocotools.mask")
    drawn = np.zeros((12, 20), np.uint8)
    drawn.flat[pixels] = 1
    compressed = codec.encode(np.asfortranarray(drawn))["counts"].decode()
    flat = [0, *drawn.flatten(order="F")]
    steps = [i for i in range(1, len(flat)) if flat[i] != flat[i - 1]]
    runs = tuple(np.diff([1, *steps, len(flat)]).tolist())
    expected = drawn > 0
    for outline in outlines:
        expected = expected | (codec.decode(codec.frPyObjects([outline], 12, 20))[:, :, 0] > 0)
    polygons = tuple(tuple(zip(o[::2], o[1::2], strict=True)) for o in outlines)
    for counts in (compressed, runs):
        one = replace(sample(None), polygons=polygons, run_lengths=(counts,))
        np.testing.assert_array_equal(read_gt_mask(one, (12, 20)), expected)
        assert Sample.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize("counts", [(1, 2), (-1, 241), "", "0", "zzzz", (), (240, 1), "~" * 50])
def test_run_lengths_that_do_not_fill_the_image_are_refused(counts: str | tuple[int, ...]) -> None:
    with pytest.raises(DatasetError, match="do not fill"):
        read_gt_mask(replace(sample(None), run_lengths=(counts,)), (12, 20))
