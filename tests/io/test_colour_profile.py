"""Colours of any ICC profile come out as sRGB; those of sRGB are left alone."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from flawsight.io.images import read_image, read_photo

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Colorants of Adobe RGB (1998) in D50.
ADOBE = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}


def wide_gamut() -> bytes:
    """The sRGB profile with the primaries of Adobe RGB."""
    profile = bytearray(SRGB)
    (count,) = struct.unpack_from(">I", profile, 128)
    for index in range(count):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name in ADOBE:
            values = [round(value * 65536) for value in ADOBE[name]]
            struct.pack_into(">3i", profile, offset + 8, *values)
    return bytes(profile)


def grey_profile(gamma: float) -> bytes:
    white = struct.pack(">3i", 63190, 65536, 54061)  # D50
    parts = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"g\0" + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + white,
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2),
    }
    table, body = struct.pack(">I", len(parts)), b""
    for name, part in parts.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(parts) + len(body), len(part))
        body += part
    kind = struct.pack(">4sI4s4s4s", bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header = kind + bytes(12) + b"acsp" + bytes(28) + white
    size = 128 + len(table) + len(body)
    return struct.pack(">I", size) + header.ljust(124, b"\0") + table + body


WIDE = wide_gamut()


def converted(image: Image.Image, profile: bytes) -> np.ndarray:
    target = ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(image, io.BytesIO(profile), target, 1, "RGB")
    return np.asarray(made).astype(int)


def test_a_wide_gamut_is_what_its_primaries_say(tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "part.png", icc_profile=WIDE)
    read = np.asarray(read_image(tmp_path / "part.png"))
    assert np.abs(read - converted(PHOTO, WIDE)).max() <= 1
    # By hand: linear light, primaries to XYZ, XYZ to linear sRGB.
    to_xyz = np.array(list(ADOBE.values())).T
    srgb = np.array(
        [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
    )
    values = NOISE / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = np.clip(linear @ (np.linalg.inv(srgb) @ to_xyz).T, 0, 1)
    curved = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(read - curved * 255).mean() < 0.6


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_an_srgb_profile_leaves_pixels_as_they_are(tmp_path: Path, suffix: str, mode: str) -> None:
    image = PHOTO.convert(mode)
    if mode == "RGBA":
        image.putalpha(PHOTO.getchannel("R"))
    if (suffix, mode) == ("webp", "P"):
        return
    paths = [tmp_path / f"{name}.{suffix}" for name in ("with", "without")]
    image.save(paths[0], icc_profile=SRGB, lossless=True)
    image.save(paths[1], lossless=True)
    with_, without = (np.asarray(read_image(path)) for path in paths)
    assert np.array_equal(with_, without)
    assert read_photo(paths[0]).warnings == ()


@pytest.mark.parametrize("wide", [False, True])
def test_a_grey_profile_is_of_grey_photos(tmp_path: Path, wide: bool) -> None:
    grey = NOISE[:, :, 0]
    image = Image.fromarray(grey.astype(np.uint16) * 257 if wide else grey.copy())
    image.save(tmp_path / "part.png", icc_profile=grey_profile(1.0))
    read = np.asarray(read_image(tmp_path / "part.png"))[:, :, 0]
    light = grey / 255
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(read - expected * 255).max() <= 1.5


def test_transparency_outlives_a_profile(tmp_path: Path) -> None:
    image = PHOTO.copy()
    image.putalpha(PHOTO.getchannel("G"))
    image.save(tmp_path / "part.png", icc_profile=WIDE)
    alpha = NOISE[:, :, 1:2] / 255
    expected = converted(PHOTO, WIDE) * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(read_image(tmp_path / "part.png")) - expected).max() <= 1.5


def test_lab_colours_are_read(tmp_path: Path) -> None:
    smooth = PHOTO.resize((6, 4)).resize((60, 40))
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(smooth, *spaces, outputMode="LAB")
    lab.save(tmp_path / "part.tif")
    read = np.asarray(read_image(tmp_path / "part.tif")).astype(int)
    assert np.abs(read - np.asarray(smooth)).mean() < 4


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"garbage" * 40),
        ("RGB", SRGB[:200]),
        ("RGB", grey_profile(1.0)),
        ("CMYK", WIDE),
        ("L", b""),
    ],
)
def test_a_profile_that_cannot_be_used_is_told(tmp_path: Path, mode: str, profile: bytes) -> None:
    image = PHOTO.convert(mode)
    image.save(tmp_path / "with.tif", icc_profile=profile)
    image.save(tmp_path / "without.tif")
    photo = read_photo(tmp_path / "with.tif")
    assert np.array_equal(np.asarray(photo.image), np.asarray(read_image(tmp_path / "without.tif")))
    assert ("profile" in str(photo.warnings)) == bool(profile)
