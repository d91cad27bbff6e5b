"""Mask files of every format and pixel type, against the mask they were made from."""

import io
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flawsight.data.mask_pixels import read_marked
from flawsight.errors import DatasetError

EXPECTED = np.zeros((40, 60), bool)
EXPECTED[8:20, 10:50] = True
WHITE = Image.fromarray(EXPECTED.astype(np.uint8) * 255)
BLACK, FULL = Image.new("L", WHITE.size), Image.new("L", WHITE.size, 255)
RGB = WHITE.convert("RGB")
RED = Image.merge("RGB", (WHITE, BLACK, BLACK))
INSTANCES = EXPECTED.astype(np.uint8) * 3
INSTANCES[10:14] //= 3


def scaled(value: float, kind: type) -> Image.Image:
    return Image.fromarray(EXPECTED.astype(kind) * kind(value))


def of_palette(background: int) -> Image.Image:
    """White or red on black, with the background at that index."""
    indices = np.where(EXPECTED, 1 - background, background).astype(np.uint8)
    image = Image.fromarray(indices)
    colours = [[0, 0, 0], [200, 0, 0]]
    first, second = colours if background == 0 else colours[::-1]
    image.putpalette(first + second)
    return image


@pytest.mark.parametrize(
    ("name", "image", "options"),
    [
        ("one.png", Image.fromarray(EXPECTED), {}),
        ("one.tif", Image.fromarray(EXPECTED), {"compression": "group4"}),
        ("one.bmp", Image.fromarray(EXPECTED), {}),
        ("white.png", WHITE, {}),
        ("value.png", scaled(1, np.uint8), {}),
        ("value.pgm", scaled(1, np.uint8), {}),
        ("instances.png", Image.fromarray(INSTANCES), {}),
        ("deep.png", scaled(1, np.uint16), {}),
        ("deep.tif", scaled(65535, np.uint16), {}),
        ("ints.tif", scaled(70000, np.int32), {}),
        ("floats.tif", scaled(1, np.float32), {}),
        ("weak.tif", scaled(0.3, np.float32), {}),
        ("quantized.png", RGB.quantize(2), {}),
        ("gif.gif", RGB, {}),
        ("black_first.png", of_palette(0), {}),
        ("black_last.png", of_palette(1), {}),
        ("transparent.png", of_palette(1), {"transparency": 1}),
        ("opaque.png", Image.merge("LA", (WHITE, FULL)), {}),
        ("alpha.png", Image.merge("RGBA", (*RED.split(), WHITE)), {}),
        ("key.png", WHITE, {"transparency": 0}),
        ("low.jpg", WHITE, {"quality": 20}),
        ("high.jpeg", WHITE, {"quality": 95}),
        ("red.jpg", RED, {"quality": 75}),
        ("dark.jpg", scaled(128, np.uint8), {"quality": 75}),
        ("inks.jpg", RGB.convert("CMYK"), {}),
        ("jpeg.tif", WHITE, {"compression": "jpeg"}),
        ("lossy.webp", WHITE, {"quality": 30}),
        ("exact.webp", scaled(1, np.uint8), {"lossless": True}),
    ],
)
def test_what_is_not_black_is_defective(
    name: str, image: Image.Image, options: dict, tmp_path: Path
) -> None:
    image.save(tmp_path / name, **options)
    marked, orientation = read_marked(tmp_path / name)
    assert (marked.dtype, orientation) == (bool, 1)
    np.testing.assert_array_equal(marked, EXPECTED)


def test_the_noise_of_a_black_jpeg_is_not_defective(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 9, (40, 60), np.uint8)
    Image.fromarray(noise).save(tmp_path / "mask.jpg")
    assert not read_marked(tmp_path / "mask.jpg")[0].any()


def deep_png(path: Path, channels: list[np.ndarray], kind: int) -> None:
    """Write a PNG of 16 bits per channel, which Pillow cannot; kind 2 is RGB, 4 grey with alpha."""
    pixels = np.stack(channels, axis=2).astype(">u2")
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, 2)
    for name, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        chunk = name + content
        file.write(struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk)))
    path.write_bytes(file.getvalue())


def test_colours_of_16_bits_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    for value in (65535, 1):
        grey = EXPECTED * value
        for channels, kind in (([grey] * 3, 2), ([grey, np.full_like(grey, 65535)], 4)):
            deep_png(path, channels, kind)
            if value == 1:
                with pytest.raises(DatasetError, match="16 bits"):
                    read_marked(path)
            else:
                np.testing.assert_array_equal(read_marked(path)[0], EXPECTED)


def with_nan() -> Image.Image:
    values = EXPECTED.astype(np.float32)
    values[0, 0] = np.nan
    return Image.fromarray(values)


def levels() -> Image.Image:
    values = EXPECTED.astype(np.uint8) * 255
    values[24:38] = 100
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("name", "image", "options", "message"),
    [
        ("black.png", Image.merge("LA", (BLACK, WHITE)), {}, "transparency alone"),
        ("white.png", Image.merge("RGBA", (FULL, FULL, FULL, WHITE)), {}, "transparency alone"),
        ("nan.tif", with_nan(), {}, "NaN"),
        ("levels.jpg", levels(), {"quality": 90}, "several levels"),
        ("pages.tif", WHITE, {"save_all": True, "append_images": [WHITE]}, "several pages"),
    ],
)
def test_a_mask_that_does_not_say_what_is_defective_is_refused(
    name: str, image: Image.Image, options: dict, message: str, tmp_path: Path
) -> None:
    image.save(tmp_path / name, **options)
    with pytest.raises(DatasetError, match=message):
        read_marked(tmp_path / name)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_mask_or_an_error(tail: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        content = io.BytesIO()
        WHITE.save(content, "PNG")
        file.write(content.getvalue()[:60] + tail)
        file.flush()
        with pytest.raises(DatasetError):
            read_marked(Path(file.name))
