"""ICC profiles: colours of another space → sRGB, in which the model was trained."""

import io
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
        mode, transform = _transform(profile)
        fits = image.mode == mode or (mode == "RGB" and image.mode not in ("CMYK", "LAB"))
        if not fits and not (mode == "L" and image.mode in _GREY):
            return None, (IGNORED,)
        if transform is None:
            return None, ()
        return ImageCms.applyTransform(image.convert(mode), transform), ()
    except Exception:  # a damaged profile makes Pillow raise nearly anything
        return None, (IGNORED,)


@lru_cache(maxsize=16)
def _transform(profile: bytes | None) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return the mode that a profile is for, and its transform to sRGB; None if it is sRGB."""
    source = (
        ImageCms.createProfile("LAB")
        if profile is None
        else ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    )
    mode = _MODES[source.xcolor_space.strip()]
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(source),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode not in ("L", "RGB"):
        return mode, transform
    levels = np.arange(0, 256, 15 if mode == "RGB" else 1, dtype=np.uint8)
    cube = np.stack(np.meshgrid(*[levels] * len(mode), indexing="ij"), -1).reshape(1, -1, len(mode))
    colours = Image.fromarray(cube[:, :, 0] if mode == "L" else cube)
    made = np.asarray(ImageCms.applyTransform(colours, transform), dtype=int)
    same = np.abs(made - cube).max() <= _SAME
    return mode, None if same else transform
