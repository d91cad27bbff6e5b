"""The page that is the photo, how it lies, and what of it is transparent."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flawsight.errors import ImageError
from flawsight.io.images import open_image, prepare_photo, read_image, read_photo
from helpers.orientations import STORED
from helpers.tiff_pages import pages

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE)
THUMB = PHOTO.resize((15, 10))
OTHER = Image.fromarray(NOISE[::-1])


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (pages((None, PHOTO)), None),
        (pages(((254, 1), THUMB), (None, PHOTO)), None),
        (pages(((255, 2), THUMB), (None, PHOTO)), None),
        (pages(((254, 4), THUMB), ((254, 0), PHOTO)), None),
        (pages((None, PHOTO), ((254, 1), THUMB)), None),
        (pages(((254, 1), PHOTO)), "All its pages are marked"),
        (pages(((254, 1), THUMB), ((254, 1), PHOTO)), "All its pages are marked"),
        (pages((None, PHOTO), (None, OTHER)), "2 pages; only page 1"),
        (pages(((254, 2), PHOTO), ((254, 2), OTHER)), "2 pages; only page 1"),
        (pages(((254, 1), THUMB), (None, PHOTO), (None, OTHER)), "2 pages; only page 2"),
    ],
)
def test_the_first_full_page_is_read_from_a_file_memory_or_upload(
    tmp_path: Path, content: bytes, warning: str | None
) -> None:
    (tmp_path / "part.tif").write_bytes(content)
    with Image.open(tmp_path / "part.tif") as opened:
        photos = [
            read_photo(tmp_path / "part.tif"),
            prepare_photo(opened),
            prepare_photo(open_image(content)),
        ]
    for photo in photos:
        assert np.array_equal(np.asarray(photo.image), NOISE)
        assert [warning in one for one in photo.warnings] == ([True] if warning else [])  # type: ignore[operator]


def test_the_pixel_limit_of_an_upload_is_that_of_the_page_that_is_read() -> None:
    content = pages(((254, 1), THUMB), (None, PHOTO))
    with pytest.raises(ImageError, match=r"60×40 pixels, more than the 2,399 allowed"):
        open_image(content, 2399)


def test_a_page_that_the_caller_chose_is_taken(tmp_path: Path) -> None:
    (tmp_path / "part.tif").write_bytes(pages((None, PHOTO), (None, OTHER)))
    with Image.open(tmp_path / "part.tif") as opened:
        opened.seek(1)
        assert np.array_equal(np.asarray(prepare_photo(opened).image), NOISE[::-1])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("place", [9, 10**6])
def test_a_damaged_second_page_loses_neither_the_first_nor_a_warning(
    tmp_path: Path, place: int
) -> None:
    content = bytearray(pages((None, PHOTO), (None, OTHER)))
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * count, place)
    (tmp_path / "part.tif").write_bytes(content)
    photo = read_photo(tmp_path / "part.tif")
    assert np.array_equal(np.asarray(photo.image), NOISE)
    assert "cannot be read" in photo.warnings[0]


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "mpo"])
def test_an_animation_says_so_and_a_preview_does_not(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"part.{kind}"
    PHOTO.save(path, save_all=True, append_images=[OTHER], lossless=True)
    assert "2 frames; only the first" in read_photo(path).warnings[0]
    assert np.asarray(read_image(path)).shape == NOISE.shape
    if kind == "mpo":
        PHOTO.save(path, save_all=True, append_images=[THUMB])
        assert read_photo(path).warnings == ()


@pytest.mark.parametrize("way", ["exif", "xmp", "tag", "compressed", "wide", "grey"])
@pytest.mark.parametrize("orientation", [0, *range(1, 9), 9])
def test_a_photo_is_read_upright_wherever_its_orientation_is(
    tmp_path: Path, orientation: int, way: str
) -> None:
    stored = np.ascontiguousarray(STORED.get(orientation, STORED[1])(NOISE))
    image = Image.fromarray(stored)
    exif = Image.Exif()
    exif[274] = orientation
    xmp = f'<x><rdf:Description tiff:Orientation="{orientation}"/></x>'.encode()
    expected = NOISE
    if way == "exif":
        ways = [("png", {"exif": exif}), ("webp", {"exif": exif, "lossless": True})]
    elif way == "xmp":
        ways = [("webp", {"xmp": xmp, "lossless": True}), ("tif", {"tiffinfo": {700: xmp}})]
    elif way == "compressed":
        valid = {"tiffinfo": {274: orientation}} if 0 < orientation < 9 else {}
        ways = [("tif", {"compression": "tiff_lzw"} | valid)]
    else:
        ways = [("tif", {"tiffinfo": {274: orientation}})]
    if way in ("wide", "grey"):
        grey = stored[:, :, 0]
        image = Image.fromarray(grey.astype(np.uint16) * 257 if way == "wide" else grey.copy())
        expected = np.repeat(NOISE[:, :, :1], 3, axis=2)
    for suffix, options in ways:
        path = tmp_path / f"part.{suffix}"
        image.save(path, **options)
        photo = read_photo(path)
        assert np.array_equal(np.asarray(photo.image), expected), suffix
        assert photo.warnings == ()


TEXT_SIX = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0\x36\0\0\0\0\0\0\0\0"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x09",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        TEXT_SIX,
    ],
)
def test_broken_exif_loses_no_photo(tmp_path: Path, suffix: str, exif: bytes) -> None:
    path = tmp_path / f"part.{suffix}"
    PHOTO.save(path, exif=exif)
    photo = read_photo(path)
    assert photo.image.size == PHOTO.size
    assert ("EXIF" in str(photo.warnings)) == (b"garbage" in exif)


def test_an_exif_directory_outside_of_a_tiff_loses_no_photo(tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "part.tif", tiffinfo={34665: 99_999_999})
    assert np.array_equal(np.asarray(read_image(tmp_path / "part.tif")), NOISE)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_a_wholly_transparent_photo_is_read_as_if_it_were_not(
    tmp_path: Path, mode: str, suffix: str
) -> None:
    image = PHOTO.convert(mode)
    opaque = np.asarray(image.convert("RGB"))
    image.putalpha(0)
    image.save(tmp_path / f"part.{suffix}", lossless=True, exact=True)
    photo = read_photo(tmp_path / f"part.{suffix}")
    assert np.array_equal(np.asarray(photo.image), opaque)
    assert "transparent" in photo.warnings[0]


@pytest.mark.parametrize("transparency", [bytes(8), bytes([255] * 3 + [0] * 5), 3])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparent_colours_of_a_palette_are_white_unless_all_are(
    tmp_path: Path, suffix: str, transparency: bytes | int
) -> None:
    image = PHOTO.quantize(8)
    if suffix == "gif" and isinstance(transparency, bytes):
        return  # GIF has one transparent colour
    image.save(tmp_path / f"part.{suffix}", transparency=transparency)
    indices, expected = np.asarray(image), np.asarray(image.convert("RGB")).copy()
    if isinstance(transparency, int):
        expected[indices == transparency] = 255
    elif any(transparency):
        expected[indices >= 3] = 255
    photo = read_photo(tmp_path / f"part.{suffix}")
    assert np.array_equal(np.asarray(photo.image), expected)
    assert bool(photo.warnings) == (transparency == bytes(8))


def test_a_file_of_far_too_many_pixels_names_size_limit_and_remedy(tmp_path: Path) -> None:
    header = b"P6 40000 40000 255\n"
    (tmp_path / "part.ppm").write_bytes(header)
    with pytest.raises(ImageError, match=r"1,600,000,000 pixels, .*200,000,000 allowed; cut it up"):
        read_image(tmp_path / "part.ppm")
