"""A reference on disk: one safetensors file, which holds numbers and text and runs no code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import LearnError
from ..io.files import write_atomically
from .memory import GoodPhoto, Reference

FORMAT = 1
SUFFIX = ".reference"
_ABOUT = "flawsight_reference"  # in the file's header


def save_reference(reference: Reference, path: str | Path) -> None:
    """Write a reference, whole or not at all.

    Raises:
        LearnError: if it cannot be written.
    """
    tensors: dict[str, Tensor] = {
        "vectors": reference.vectors.contiguous(),
        "places": torch.from_numpy(reference.places),
    }
    for index, photo in enumerate(reference.photos):
        tensors[f"distances_{index}"] = photo.distances.contiguous()
        tensors[f"picture_{index}"] = torch.frombuffer(bytearray(photo.picture), dtype=torch.uint8)
    about = {
        "format": FORMAT,
        "photos": [photo.name for photo in reference.photos],
        "blocks": list(reference.blocks),
        "settings": reference.settings,
        "model_sha256": reference.model_sha256,
    }
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), save(tensors, {_ABOUT: json.dumps(about)}))
    except OSError as error:
        raise LearnError(f"Cannot write {path}: {error.strerror or error}.") from error


def load_reference(path: str | Path) -> Reference:
    """Read the reference that `save_reference` wrote.

    Raises:
        LearnError: if there is no such file, or it is damaged or of a later version.
    """
    if not Path(path).is_file():
        raise LearnError(f"There is no reference {path}; make one with flawsight learn.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
            tensors = {
                # The file stays mapped otherwise, and changes with it.
                name: file.get_tensor(name).clone()
                for name in file.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise LearnError(
            f"{path} is no readable reference ({error}); make one with flawsight learn."
        ) from error
    if isinstance(about, dict) and about.get("format") not in (None, FORMAT):
        raise LearnError(
            f"{path} has format {about['format']!r}, and this version reads {FORMAT}; learn the "
            "photos again, or update flawsight."
        )
    try:
        return _checked(about, tensors)
    except (TypeError, KeyError, ValueError, RuntimeError, AttributeError) as error:
        raise LearnError(f"{path} is damaged ({error}); learn the photos again.") from error


def _checked(about: Any, tensors: dict[str, Tensor]) -> Reference:
    """Return the reference, or raise nearly anything if a part does not fit the others."""
    names, blocks, settings = about["photos"], about["blocks"], about["settings"]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError("it names no photos")
    if not blocks or not all(type(block) is int for block in blocks):
        raise ValueError("it names no blocks")
    if not isinstance(settings, dict) or not isinstance(about["model_sha256"], str):
        raise ValueError("it names no settings or model")
    photos = tuple(
        GoodPhoto(name, tensors[f"picture_{i}"].numpy().tobytes(), tensors[f"distances_{i}"])
        for i, name in enumerate(names)
    )
    vectors, places = tensors["vectors"], tensors["places"]
    floats = [vectors, *(photo.distances for photo in photos)]
    if not all(one.is_floating_point() and one.isfinite().all() for one in floats):
        raise ValueError("it holds values that are no finite numbers")
    if vectors.ndim != 2 or not len(vectors) or places.shape != (len(vectors), 3):
        raise ValueError("its patches and their places do not fit")
    sizes = torch.tensor([(len(photos), *photo.distances.shape) for photo in photos])
    if places.dtype != torch.int32 or (places < 0).any() or (places[:, 0] >= len(photos)).any():
        raise ValueError("a patch has no photo")
    if (places >= sizes[places[:, 0].long()]).any():
        raise ValueError("a patch lies outside of its photo")
    return Reference(
        vectors, places.numpy().astype(np.int32), photos, tuple(blocks), settings,
        about["model_sha256"],
    )  # fmt: skip
