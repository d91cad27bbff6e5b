"""Photos of good parts in the prompt, before the photo to inspect: the one-shot form of MMAD."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ..errors import ModelError
from ..io.images import prepare_photo, read_photo
from .load import MLLM


def read_prompt_photos(photos: Sequence[Any], bit_depth: int | None = None) -> tuple[Image, ...]:
    """Return photos as upright RGB images.

    Args:
        photos: paths, PIL images or arrays, as `Inspector` takes them.
        bit_depth: as in `Settings`.

    Raises:
        ImageError: if one cannot be read or shows one flat colour.
    """
    return tuple(
        (
            read_photo(photo, bit_depth)
            if isinstance(photo, str | Path)
            else prepare_photo(photo, "a photo of the prompt", bit_depth)
        ).image
        for photo in photos
    )


def hash_prompt_photos(photos: Sequence[Image]) -> str | None:
    """Return the sha256 of the photos' sizes and pixels, in order; None without photos."""
    if not photos:
        return None
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(f"{photo.width}x{photo.height}:".encode())
        digest.update(photo.tobytes())
    return digest.hexdigest()


def check_prompt_photos(mllm: MLLM, photos: Sequence[Image]) -> None:
    """Raise ModelError if there are photos, but the model's prompts take one image."""
    if photos and not mllm.family.several_images:
        raise ModelError(
            f"{mllm.name} takes no photos of good parts in its prompt: {mllm.family.name} reads "
            "several images otherwise than one. Leave them out (--prompt-photo), or take another "
            "model."
        )
