"""ICC profiles: colours of another space → sRGB, in which the model was trained."""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# Mode of the numbers that a profile of this colour space speaks of.
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}
_GREY = {"1", "L", "LA"}
# Profiles of sRGB differ in their last digits: as many levels of 255.
_SAME = 2
IGNORED = "Its colour profile is damaged or of another kind of image, and was ignored."


def to_srgb(image: Image.Image, profile: Any) -> tuple[Image.Image | None, tuple[str, ...]]:
    """Return the RGB image that a profile makes of an image of 8 bits, without alpha.

    The intent is relative colorimetric with black point compensation, which leaves the colours that
    sRGB has as they are.

    Args:
        image: of any mode of 8 bits.
        profile: content of the ICC profile; None without one.

    Returns:
        None if there is nothing to convert: no profile, or that of sRGB; and a warning if the
        profile was ignored.
    """
    if profile is None and image.mode != "LAB":
        return None, ()
    try:
        mode, convert = _conversion(profile)
        fits = image.mode == mode or (mode == "RGB" and image.mode not in ("CMYK", "LAB"))
        if not fits and not (mode == "L" and image.mode in _GREY):
            return None, (IGNORED,)
        return None if convert is None else convert(image.convert(mode)), ()
    except Exception:  # a damaged profile makes Pillow raise nearly anything
        return None, (IGNORED,)


@lru_cache(maxsize=16)
def _conversion(
    profile: bytes | None,
) -> tuple[str, Callable[[Image.Image], Image.Image] | None]:
    """Return the mode that a profile is for, and its conversion to sRGB; None if it is sRGB."""
    source = (
        ImageCms.createProfile("LAB")
        if profile is None
        else ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    )
    mode = _MODES[source.xcolor_space.strip()]
    # On grey, lcms' optimization is several levels off in the shadows.
    exact = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(source),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION | exact,
    )

    def convert(image: Image.Image) -> Image.Image:
        return transform.apply(image)

    if mode not in ("L", "RGB"):
        return mode, convert
    levels = np.arange(0, 256, 15 if mode == "RGB" else 1, dtype=np.uint8)
    cube = np.stack(np.meshgrid(*[levels] * len(mode), indexing="ij"), -1).reshape(1, -1, len(mode))
    made = np.asarray(convert(Image.fromarray(cube[:, :, 0] if mode == "L" else cube)))
    if np.abs(made.astype(int) - cube).max() <= _SAME:
        return mode, None
    if mode == "RGB":
        return mode, convert
    tables = made[0].T.tolist()
    return mode, lambda grey: Image.merge("RGB", [grey.point(table) for table in tables])
