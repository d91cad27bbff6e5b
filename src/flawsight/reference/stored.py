"""A reference on disk: one safetensors file, which holds numbers and text and runs no code."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import HubError, LearnError
from ..io.files import write_atomically
from ..io.hub import fetch_files, is_hub_name

FORMAT = 1
SUFFIX = ".reference"
# Its file in a repository of the Hugging Face hub.
ON_HUB = f"good{SUFFIX}"
_ABOUT = "flawsight_reference"  # in the file's header


@dataclass(frozen=True)
class GoodPhoto:
    """One photo of a reference.

    Attributes:
        name: of its file, or a number.
        picture: PNG of it, at the size that the model sees.
        distances: (h, w) of its patches from those of the other photos, or of a single photo, from
            those far away in it; NaN outside of a mask of the region of interest.
    """

    name: str
    picture: bytes = field(repr=False)
    distances: Tensor = field(repr=False)


@dataclass(frozen=True)
class StoredReference:
    """What a reference consists of, and its file.

    Attributes:
        vectors: (m, d) in half precision, of patches of the photos; see `patch_vectors`.
        places: (m, 3) of each, the photo's index, row and column.
        photos: all of them.
        blocks: of the vision encoder that the features are of.
        settings: those of `Generation` that the features depend on.
        model_sha256: of the model, see `MLLM`.
    """

    vectors: Tensor = field(repr=False)
    places: NDArray[np.int32] = field(repr=False)
    photos: tuple[GoodPhoto, ...]
    blocks: tuple[int, ...]
    settings: dict[str, Any]
    model_sha256: str

    def to_bytes(self) -> bytes:
        """Return the content of the reference's file."""
        tensors: dict[str, Tensor] = {
            "vectors": self.vectors.contiguous(),
            "places": torch.from_numpy(self.places),
        }
        for index, photo in enumerate(self.photos):
            picture = torch.frombuffer(bytearray(photo.picture), dtype=torch.uint8)
            tensors[f"distances_{index}"] = photo.distances.contiguous()
            tensors[f"picture_{index}"] = picture
        about = {
            "format": FORMAT,
            "photos": [photo.name for photo in self.photos],
            "blocks": list(self.blocks),
            "settings": self.settings,
            "model_sha256": self.model_sha256,
        }
        content: bytes = save(tensors, {_ABOUT: json.dumps(about)})
        return content

    def save(self, path: str | Path) -> None:
        """Write the reference, whole or not at all.

        Raises:
            LearnError: if it cannot be written.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(Path(path), self.to_bytes())
        except OSError as error:
            raise LearnError(f"Cannot write {path}: {error.strerror or error}.") from error

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """Read a reference from a file, or from a repository of the Hugging Face hub.

        Args:
            name: file of `save`, or OWNER/NAME of a repository of `push_reference`.

        Raises:
            LearnError: as `load`, or if there is neither such a file nor such a repository.
        """
        if Path(name).exists() or Path(name).suffix == SUFFIX or not is_hub_name(name):
            return cls.load(name)
        repository = Path(name).as_posix()
        try:
            folder = fetch_files(repository, [ON_HUB])
        except HubError as error:
            raise LearnError(f"There is no file {repository}. {error}") from error
        if not (folder / ON_HUB).is_file():
            raise LearnError(f"{repository} on the hub holds no {ON_HUB}, so it is no reference.")
        return cls.load(folder / ON_HUB)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the reference that `save` wrote.

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
                f"{path} has format {about['format']!r}, and this version reads {FORMAT}; learn "
                "the photos again, or update flawsight."
            )
        try:
            return cls(**_checked(about, tensors))
        except (TypeError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            raise LearnError(f"{path} is damaged ({error}); learn the photos again.") from error


def _checked(about: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the parts of a reference; raise nearly anything if one does not fit the others."""
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
    if not all(one.is_floating_point() for one in floats) or not vectors.isfinite().all():
        raise ValueError("it holds values that are no finite numbers")
    # NaN is outside of the region of interest.
    far = [photo.distances for photo in photos]
    if any(one.isinf().any() or one.isnan().all() for one in far) or (
        settings.get("roi") is None and any(one.isnan().any() for one in far)
    ):
        raise ValueError("it holds values that are no finite numbers")
    if vectors.ndim != 2 or not len(vectors) or places.shape != (len(vectors), 3):
        raise ValueError("its patches and their places do not fit")
    sizes = torch.tensor([(len(photos), *photo.distances.shape) for photo in photos])
    if places.dtype != torch.int32 or (places < 0).any() or (places[:, 0] >= len(photos)).any():
        raise ValueError("a patch has no photo")
    if (places >= sizes[places[:, 0].long()]).any():
        raise ValueError("a patch lies outside of its photo")
    return {
        "vectors": vectors,
        "places": places.numpy().astype(np.int32),
        "photos": photos,
        "blocks": tuple(blocks),
        "settings": settings,
        "model_sha256": about["model_sha256"],
    }
