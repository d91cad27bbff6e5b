"""Reading images: what any camera, editor or accident may leave on a disk."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from flawsight.errors import ImageError
from flawsight.io import images
from flawsight.io.images import prepare_image, read_image
from helpers.orientations import STORED

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    return exif


PHOTOS = {
    kind: encoded(Image.fromarray(NOISE), kind, exif=photo_exif()) for kind in ("PNG", "JPEG")
}


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64))


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def gray(values: list[list[int]]) -> np.ndarray:
    return np.repeat(np.array(values, dtype=np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image at all",
        b"\x89PNG\r\n\x1a\n",
        PHOTOS["PNG"][: len(PHOTOS["PNG"]) // 2],
        PHOTOS["JPEG"][: len(PHOTOS["JPEG"]) // 2],
        PHOTOS["JPEG"][:-30],
        png_header(40_000, 40_000),
        png_header(15_000, 15_000),
        png_header(0, 5),
        png_header(16, 16),
        encoded(Image.new("RGB", (5000, 1)), "PNG"),
        encoded(Image.new("RGB", (1, 5000)), "PNG"),
    ],
    ids=[
        "empty", "text", "signature", "half-png", "half-jpeg", "jpeg-less-its-end", "bomb",
        "too-many-pixels", "no-width", "no-pixels", "too-wide", "too-tall",
    ],
)  # fmt: skip
def test_a_file_without_a_readable_image_is_an_image_error_that_names_it(tmp_path, content):
    path = tmp_path / "part.png"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["", "gone.png", "x" * 5000, "a\0b"])
def test_a_folder_or_a_missing_file_is_an_image_error_that_names_it(tmp_path, name):
    with pytest.raises(ImageError) as caught:
        read_image(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


def test_an_image_over_the_pixel_limit_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 599)
    path = tmp_path / "part.png"
    path.write_bytes(PHOTOS["PNG"][:200])
    with pytest.raises(ImageError, match=r"30×20 pixels, more than the 599 allowed"):
        read_image(path)


def test_the_longest_shape_allowed_and_one_pixel_are_read(tmp_path):
    for size in [(100, 1), (1, 100), (1, 1)]:
        Image.new("RGB", size, "red").save(tmp_path / "part.png")
        assert read_image(tmp_path / "part.png").size == size
    with pytest.raises(ImageError, match="too elongated"):
        prepare_image(Image.new("RGB", (101, 1)))


def check_reads_or_image_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        assert read_image(path).mode == "RGB"
        return
    except ImageError as error:
        message = str(error)
    assert str(path) in message


@pytest.fixture(scope="module")
def scratch_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "part.png"


STARTS = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0", b"BM", b"P6 2 2 "]


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
def test_random_bytes_are_an_image_or_an_image_error(scratch_file, start, rest):
    check_reads_or_image_error(scratch_file, start + rest)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", PHOTOS)
@given(data=st.data())
def test_a_damaged_photo_is_an_image_or_an_image_error(scratch_file, kind, data):
    content = bytearray(PHOTOS[kind])
    # Headers and metadata, where most of the code is, stand at the start.
    position = st.integers(0, 220) | st.integers(0, len(content) - 1)
    changes = data.draw(st.lists(st.tuples(position, st.integers(0, 255)), max_size=6))
    for index, value in changes:
        content[index] = value
    length = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    check_reads_or_image_error(scratch_file, bytes(content[:length]))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_metadata_of_the_wrong_type_is_an_image_error(scratch_file):
    exif_number = struct.pack("<HHI", 0x011A, 5, 1)
    content = PHOTOS["JPEG"]
    if exif_number not in content:
        exif_number = struct.pack(">HHI", 0x011A, 5, 1)
    assert exif_number in content
    as_text = exif_number.replace(b"\x05", b"\x02", 1)
    check_reads_or_image_error(scratch_file, content.replace(exif_number, as_text))


def test_a_damaged_image_handed_over_open_is_an_image_error(tmp_path):
    (tmp_path / "half.png").write_bytes(PHOTOS["PNG"][:500])
    with (
        Image.open(tmp_path / "half.png") as image,
        pytest.raises(ImageError, match="Cannot read the image; is the file damaged"),
    ):
        prepare_image(image)


def test_a_plain_png_is_read_as_it_is(tmp_path):
    (tmp_path / "part.png").write_bytes(encoded(Image.fromarray(NOISE), "PNG"))
    assert np.array_equal(pixels(read_image(tmp_path / "part.png")), NOISE)
    assert np.array_equal(pixels(read_image(str(tmp_path / "part.png"))), NOISE)


def test_a_16_bit_png_is_scaled_by_the_full_range(tmp_path):
    values = np.array([[0, 257, 65535], [128 * 257, 300, 386]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "part.png")
    expected = gray([[0, 1, 255], [128, 1, 2]])
    assert np.array_equal(pixels(read_image(tmp_path / "part.png")), expected)


def test_a_dark_16_bit_image_stays_dark():
    image = Image.fromarray(np.full((2, 2), 200, dtype=np.uint16))
    assert pixels(prepare_image(image)).max() == 1


def test_a_cmyk_jpeg_is_read_as_the_color_it_prints(tmp_path):
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    inks.save(tmp_path / "part.jpg", quality=100)
    assert np.abs(pixels(read_image(tmp_path / "part.jpg")) - [255.0, 0, 0]).max() <= 4


def over_white(color: list[int], alpha: int) -> list[float]:
    return [channel * alpha / 255 + 255 - alpha for channel in color]


@pytest.mark.parametrize("alpha", [1, 100, 255])
def test_transparency_is_laid_on_white(tmp_path, alpha):
    cases = {
        "RGBA": ((10, 120, 250, alpha), [10, 120, 250]),
        "LA": ((40, alpha), [40, 40, 40]),
    }
    for mode, (value, color) in cases.items():
        Image.new(mode, (3, 2), value).save(tmp_path / "part.png")
        read = pixels(read_image(tmp_path / "part.png"))
        assert np.abs(read - over_white(color, alpha)).max() <= 1


def test_a_palette_with_transparent_colors_is_laid_on_white(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([200, 0, 0, 0, 100, 0, 0, 0, 50])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "part.png", transparency=bytes([255, 0, 128]))
    expected = [[over_white([200, 0, 0], 255), [255] * 3, over_white([0, 0, 50], 128)]]
    assert np.abs(pixels(read_image(tmp_path / "part.png")) - expected).max() <= 1


def test_a_color_key_is_laid_on_white(tmp_path):
    values = np.array([[[9, 9, 9], [1, 2, 3]]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "part.png", transparency=(9, 9, 9))
    assert pixels(read_image(tmp_path / "part.png")).tolist() == [[[255] * 3, [1, 2, 3]]]


def test_a_1_bit_image_is_black_and_white(tmp_path):
    bits = Image.fromarray(np.array([[True, False, True]]))
    assert bits.mode == "1"
    bits.save(tmp_path / "part.png")
    assert np.array_equal(pixels(read_image(tmp_path / "part.png")), gray([[255, 0, 255]]))


@pytest.mark.parametrize("orientation", STORED)
def test_a_rotated_photo_is_read_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](NOISE))
    Image.fromarray(stored).save(tmp_path / "part.png", exif=exif)
    image = read_image(tmp_path / "part.png")
    assert image.size == (30, 20)
    assert np.array_equal(pixels(image), NOISE)
    assert np.array_equal(pixels(ImageOps.exif_transpose(image)), NOISE)


def test_an_animation_gives_its_first_frame(tmp_path):
    first, second = (Image.new("RGB", (4, 4), color) for color in ("red", "blue"))
    first.save(tmp_path / "part.gif", save_all=True, append_images=[second])
    assert pixels(read_image(tmp_path / "part.gif"))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_every_listed_kind_of_file_is_read(tmp_path, kind):
    flat = Image.new("RGB", (8, 6), (200, 40, 90))
    path = tmp_path / f"part.{kind.lower()}"
    path.write_bytes(encoded(flat, kind))
    assert path.suffix in images.SUFFIXES
    assert np.abs(pixels(read_image(path)) - [200.0, 40, 90]).max() <= 6


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 7, 255]], dtype=np.uint8), [[0, 7, 255]]),
        (np.array([[[0], [7], [255]]], dtype=np.uint8), [[0, 7, 255]]),
        (np.array([[0, 257, 65535]], dtype=np.uint16), [[0, 1, 255]]),
        (np.array([[0, 257, 65535]], dtype=">u2"), [[0, 1, 255]]),
        (np.array([[0.0, 0.2, 1.0]]), [[0, 51, 255]]),
        (np.array([[0.0, 0.2, 1.0]], dtype=np.float32), [[0, 51, 255]]),
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float16), [[0, 128, 255]]),
        (np.array([[-0.001, 0.2, 1.001]]), [[0, 51, 255]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.array([[0, 7, 255]], dtype=np.uint8)[:, ::-1], [[255, 7, 0]]),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_an_array_is_brought_to_8_bits_on_one_scale(array, expected):
    before = array.copy()
    assert np.array_equal(pixels(prepare_image(array)), gray(expected))
    assert np.array_equal(array, before)


def test_a_color_array_keeps_its_channels_and_a_fourth_is_transparency():
    assert np.array_equal(pixels(prepare_image(NOISE)), NOISE)
    opaque = np.dstack([NOISE, np.full(NOISE.shape[:2], 255, dtype=np.uint8)])
    assert np.array_equal(pixels(prepare_image(opaque)), NOISE)
    opaque[0, 0, 3] = 0
    assert pixels(prepare_image(opaque))[0, 0].min() == 255
    assert np.array_equal(pixels(prepare_image(NOISE / 255)), NOISE)


def test_preparing_leaves_the_image_handed_over_alone():
    image = Image.fromarray(NOISE)
    image.getexif()[0x0112] = 6
    prepare_image(image)
    assert image.size == (30, 20)
    assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize(
    "shape",
    [(), (0,), (3,), (0, 3), (3, 0), (0, 0, 3), (4, 4, 0), (4, 4, 2), (4, 4, 5), (1, 4, 4, 3)],
    ids=str,
)
def test_an_array_of_a_wrong_shape_is_an_image_error(shape):
    with pytest.raises(ImageError, match=r"the array of line 3 (has|is empty:) shape \("):
        prepare_image(np.zeros(shape, dtype=np.uint8), "the array of line 3")


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint32", "complex64", "object", "U1"])
def test_an_array_of_a_wrong_type_is_an_image_error(dtype):
    with pytest.raises(ImageError, match=f"has dtype .*{dtype}; give uint8, uint16 or float"):
        prepare_image(np.zeros((4, 4)).astype(dtype))


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_image_errors(hole):
    values = np.array([[0.5, hole]], dtype=np.float32)
    for image in (values, Image.fromarray(values)):
        with pytest.raises(ImageError, match="holds NaN or infinity"):
            prepare_image(image)


@pytest.mark.parametrize("thing", [None, 3, "part.png", b"bytes", [[1, 2]], object()])
def test_what_is_no_image_is_an_image_error_that_names_its_type(thing):
    with pytest.raises(ImageError, match=f"is a {type(thing).__name__}; give a path"):
        prepare_image(thing)


def test_a_pil_image_without_pixels_is_an_image_error():
    for size in [(0, 0), (0, 5), (5, 0)]:
        with pytest.raises(ImageError, match="is empty"):
            prepare_image(Image.new("RGB", size))
