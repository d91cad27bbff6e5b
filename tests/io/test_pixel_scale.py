"""Pixel values of any type have one scale, whatever they are; what uses little of it is told."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flawsight.errors import ImageError, SettingsError
from flawsight.io.images import prepare_image, prepare_photo, read_image, read_photo
from flawsight.settings import Settings
from helpers.wide_photos import png_16

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(0, 4096, (40, 60)).astype(np.uint16)
COUNTS[0, :2] = 0, 4095
COLOURS = RNG.integers(0, 4096, (40, 60, 3)).astype(np.uint16)
TWELVE = np.rint(COUNTS / np.float32(4095) * 255)


def grey_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image)[:, :, 0]


def tiff(values: np.ndarray, bits: int, form: int = 1, photometric: int = 1) -> bytes:
    """An uncompressed TIFF of one page, of values that have its byte order."""
    height, width, channels = (*values.shape, 1)[:3]
    end = ">" if values.dtype.str[0] == ">" else "<"
    data, shown = values.tobytes(), width * values.dtype.itemsize * 8 // bits
    tags = [
        (256, shown), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0),
        (277, channels), (278, height), (279, len(data)), (339, form),
    ]  # fmt: skip
    at = 8 + 2 + 12 * len(tags) + 4
    entries = b""
    extra = b""
    for tag, value in tags:
        if tag in (258, 339) and channels > 1:
            entries += struct.pack(end + "HHII", tag, 3, channels, at + len(extra))
            extra += struct.pack(f"{end}{channels}H", *[value] * channels)
        else:
            value = at + 12 * (channels > 1) if tag == 273 else value
            entries += struct.pack(end + "HHII", tag, 4, 1, value)
    start = (b"MM\0*" if end == ">" else b"II*\0") + struct.pack(end + "IH", 8, len(tags))
    return start + entries + struct.pack(end + "I", 0) + extra + data


PACKED = np.stack(  # two numbers of 12 bits in three bytes
    [
        COUNTS[:, ::2] >> 4,
        ((COUNTS[:, ::2] & 15) << 4) | (COUNTS[:, 1::2] >> 8),
        COUNTS[:, 1::2] & 255,
    ],
    axis=2,
).astype(np.uint8)
FILES = {
    "16.png": None,
    "16-little.tif": tiff(COUNTS, 16),
    "16-big.tif": tiff(COUNTS.astype(">u2"), 16),
    "signed-16.tif": tiff(COUNTS.astype("<i2"), 16, 2),
    "signed-16-big.tif": tiff(COUNTS.astype(">i2"), 16, 2),
    "signed-32.tif": tiff(COUNTS.astype("<i4"), 32, 2),
    "unsigned-32.tif": tiff(COUNTS.astype("<u4"), 32, 1),
    "float-32.tif": tiff(COUNTS.astype("<f4"), 32, 3),
    "float-32-big.tif": tiff(COUNTS.astype(">f4"), 32, 3),
    "65535.pgm": b"P5 60 40 65535\n" + COUNTS.astype(">u2").tobytes(),
    "4095.pgm": b"P5 60 40 4095\n" + COUNTS.astype(">u2").tobytes(),
    "packed-12.tif": tiff(PACKED.reshape(40, 90), 12),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_12_bits_is_scaled_by_its_bit_depth(tmp_path: Path, name: str) -> None:
    content = FILES[name]
    if content is None:
        Image.fromarray(COUNTS).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    photo = read_photo(tmp_path / name, 12)
    assert photo.warnings == ()
    # Pillow brings a PGM to 16 bits first.
    assert np.abs(grey_of(photo.image) - TWELVE).max() <= (name == "4095.pgm")


@pytest.mark.parametrize("name", ["4095.pgm", "packed-12.tif"])
def test_a_file_that_states_its_scale_needs_no_bit_depth(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name] or b"")
    photo = read_photo(tmp_path / name)
    assert photo.warnings == ()
    assert np.abs(grey_of(photo.image) - TWELVE).max() <= 1


@pytest.mark.parametrize("name", ["signed-32.tif", "unsigned-32.tif", "float-32.tif"])
def test_a_file_without_a_scale_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name] or b"")
    with pytest.raises(ImageError, match="--bit-depth 12") as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_a_camera_s_bits_in_16_are_told_and_not_stretched(bits: int) -> None:
    values = RNG.integers(0, 2**bits, (40, 60)).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    for photo in map(prepare_photo, (values, Image.fromarray(values))):
        assert f"--bit-depth {bits}" in photo.warnings[0]
        assert np.array_equal(grey_of(photo.image), np.rint(values / np.float32(65535) * 255))
    assert prepare_photo(values, bit_depth=bits).warnings == ()


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("kind", ["png", "tif", "tif-big"])
def test_colours_of_16_bits_are_scaled_with_all_their_bits(
    tmp_path: Path, kind: str, alpha: bool
) -> None:
    opaque = np.full((40, 60, 1), 65535, np.uint16)
    values = np.dstack([COLOURS, opaque]) if alpha else COLOURS
    path = tmp_path / "part"
    if kind == "png":
        path.write_bytes(png_16(values))
    elif alpha:
        return
    else:
        path.write_bytes(tiff(values.astype(">u2" if kind == "tif-big" else "<u2"), 16, 1, 2))
    expected = np.rint(COLOURS / np.float32(4095) * 255)
    assert np.array_equal(np.asarray(read_photo(path, 12).image), expected)
    plain = read_photo(path)
    assert np.array_equal(np.asarray(plain.image), COLOURS >> 8)
    assert "--bit-depth 12" in plain.warnings[0]
    with pytest.raises(ImageError, match="outside of its scale of 0 to 1023"):
        read_image(path, 10)


def test_a_transparent_colour_of_16_bits_is_white(tmp_path: Path) -> None:
    values = COLOURS * 16
    (tmp_path / "part.png").write_bytes(png_16(values, tuple(map(int, values[0, 0]))))
    read = np.asarray(read_image(tmp_path / "part.png"))
    assert read[0, 0].tolist() == [255, 255, 255]
    assert np.abs(read[0, 1] - values[0, 1] / 257).max() <= 0.5
    grey = COUNTS * 16
    Image.fromarray(grey).save(tmp_path / "part.png", transparency=int(grey[3, 3]))
    read = grey_of(read_image(tmp_path / "part.png"))
    assert (read[grey == grey[3, 3]] == 255).all()
    others = grey != grey[3, 3]
    assert np.array_equal(read[others], np.rint(grey[others] / np.float32(65535) * 255))


def test_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    (tmp_path / "part.tif").write_bytes(tiff(COUNTS * 16, 16, photometric=0))
    expected = 255 - np.rint(COUNTS * 16 / np.float32(65535) * 255)
    assert np.array_equal(grey_of(read_image(tmp_path / "part.tif")), expected)


@given(
    bits=st.integers(1, 32),
    kind=st.sampled_from(["uint16", "int32", "uint32", "int64", "float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_a_value_depends_on_no_other(bits: int, kind: str, seed: int) -> None:
    top = min(2**bits - 1, np.iinfo(kind).max if "int" in kind else 2**bits - 1)
    values = np.random.default_rng(seed).integers(0, top + 1, (4, 5)).astype(kind)
    together = grey_of(prepare_image(values, bit_depth=bits))
    exact = values.astype(float) / (2**bits - 1) * 255
    assert np.abs(together - exact).max() <= 0.51
    assert grey_of(prepare_image(values[:1, :1], bit_depth=bits))[0, 0] == together[0, 0]


@pytest.mark.parametrize("values", [[[-1.0, 0.5]], [[0.5, 1.1]], [[0.0, 255.0]]])
def test_floats_outside_of_0_to_1_are_refused(values: list[list[float]]) -> None:
    array = np.array(values, np.float32)
    for image in (array, Image.fromarray(array)):
        with pytest.raises(ImageError, match="outside of its scale of 0 to 1;"):
            prepare_image(image)


def test_values_above_a_given_bit_depth_are_refused_and_8_bits_have_their_own() -> None:
    with pytest.raises(ImageError, match="from 0 to 4095, outside of its scale of 0 to 1023"):
        prepare_image(COUNTS, bit_depth=10)
    with pytest.raises(ImageError, match="save it with values from 0 on"):
        prepare_image(-COUNTS.astype(np.int32), bit_depth=12)
    small = (COUNTS >> 4).astype(np.uint8)
    assert np.array_equal(grey_of(prepare_image(small, bit_depth=12)), small)


def test_the_alpha_channel_has_a_scale_of_its_own() -> None:
    opaque = np.dstack([COLOURS, np.full((40, 60), 65535, np.uint16)])
    expected = np.asarray(prepare_image(COLOURS, bit_depth=12))
    assert np.array_equal(np.asarray(prepare_image(opaque, bit_depth=12)), expected)


@pytest.mark.parametrize("value", [0, 33, -1, 12.0, True, "12"])
def test_a_bit_depth_that_makes_no_sense_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="bit_depth"):
        Settings(bit_depth=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "photo",
    [
        Image.new("RGB", (1, 1), "red"),
        Image.new("RGB", (300, 200), "white"),
        Image.fromarray((RNG.integers(100, 105, (200, 300))).astype(np.uint8)),
        np.zeros((64, 64), np.uint16),
        np.full((64, 64), 0.5),
    ],
    ids=["one pixel", "white", "nearly one", "black in 16 bits", "floats"],
)
def test_a_photo_of_one_colour_is_refused(photo: object) -> None:
    prepare_image(photo)
    with pytest.raises(ImageError, match="shows one flat colour"):
        prepare_photo(photo)


def test_a_photo_of_nearly_one_colour_and_a_small_one_are_told() -> None:
    empty = np.full((300, 400), 120, np.uint8)
    empty[7, 9] = 250
    assert "one colour" in prepare_photo(empty).warnings[0]
    small = RNG.integers(0, 256, (31, 400), dtype=np.uint8)
    assert "only 400×31 pixels" in prepare_photo(small).warnings[0]
    # Sampling alone would see the white lines only.
    lines = np.zeros((640, 640), np.uint8)
    lines[5::10, :] = lines[:, 5::10] = 255
    assert prepare_photo(lines).warnings == ()
