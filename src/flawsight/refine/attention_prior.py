"""The mean attention of a model's reasoning on normal images, and maps relative to it.

Some patches attract attention whatever an image shows (attention sinks). A map divided by the mean
attention on normal images keeps what this image adds. Densities are attention in units of the
image's mean. Beyond the paper.
"""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import CalibrationError, ModelError, SettingsError
from ..real.anomaly_map import density

FILE = "attention_prior.npz"
# Of version 0.1, read for one release: the mean density of each head.
_OLD_FILE = "looks.npz"
GRID = (15, 15)
# A patch of higher density on normal images is a sink.
SINK = 2.0


@dataclass(frozen=True)
class AttentionPrior:
    """The mean attention of a model's reasoning on normal images.

    Attributes:
        density: (15, 15) mean density of the attention.
        layers: the layers averaged, as in `Settings.layers`.
        images: number of normal images.
        model_sha256: of the model, see `MLLM`.
    """

    density: Tensor
    layers: tuple[int, ...] | None
    images: int
    model_sha256: str

    @property
    def sha256(self) -> str:
        """Hash of its values, which runs and calibrations record."""
        return hashlib.sha256(self.density.numpy().astype("<f4").tobytes()).hexdigest()

    def check(self, layers: tuple[int, ...] | None) -> None:
        """Raise SettingsError if the prior is of other layers."""
        if layers != self.layers:
            raise SettingsError(
                f"The attention prior is of layers {self.layers}, the settings average {layers}; "
                "measure one with flawsight prior --set layers=…, or set attention_prior to false."
            )


def measure_prior(
    maps: Iterable[Tensor], layers: tuple[int, ...] | None, model_sha256: str
) -> AttentionPrior:
    """Average the (grid_h, grid_w) attention maps of normal images.

    Raises:
        CalibrationError: if there are no maps.
    """
    resized = [_on_grid(density(attention), GRID) for attention in maps]
    if not resized:
        raise CalibrationError("No image got a response with a reasoning; the prior is their mean.")
    return AttentionPrior(torch.stack(resized).mean(dim=0), layers, len(resized), model_sha256)


def encode_prior(prior: AttentionPrior) -> memoryview:
    """Return the content of attention_prior.npz."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        density=prior.density.numpy().astype(np.float32),
        layers=np.array(prior.layers or (), np.int64),
        images=np.array(prior.images),
        model_sha256=np.array(prior.model_sha256),
    )
    return content.getbuffer()


def load_prior(folder: Path, model_sha256: str) -> AttentionPrior | None:
    """Return the attention_prior.npz of a model's folder; None if there is none.

    Raises:
        ModelError: if it is damaged or belongs to another model.
    """
    for name in (FILE, _OLD_FILE):
        if (folder / name).exists():
            return read_prior(folder / name, model_sha256)
    return None


def read_prior(path: Path, model_sha256: str) -> AttentionPrior:
    """Return the attention prior in a file.

    Raises:
        ModelError: if it is missing or damaged, or belongs to another model.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if path.name == _OLD_FILE:
                values, layers = _mean_of_heads(arrays["good"]), None
                images, owner = int(arrays["images"][0]), str(arrays["sha256"])
            else:
                values = torch.from_numpy(np.asarray(arrays["density"], np.float32))
                layers = tuple(arrays["layers"].tolist()) or None
                images, owner = int(arrays["images"]), str(arrays["model_sha256"])
        if values.shape != GRID or not (values >= 0).all() or not 0 < values.sum() < torch.inf:
            raise ValueError(f"its density is no {GRID} array of finite numbers above 0")
        if owner != model_sha256:
            raise ValueError("it was measured on another model, or knows it by its weights alone")
    except Exception as error:  # a damaged file makes numpy raise nearly anything
        raise ModelError(
            f"{path} cannot be used ({error}); remove it, or make it again with flawsight prior."
        ) from error
    return AttentionPrior(values, layers, images, owner)


def _mean_of_heads(good: NDArray[np.float32]) -> Tensor:
    """Return the mean of (L, H, h, w), summed in the order of version 0.1 to give the same bits."""
    weights = torch.full(good.shape[1:2], 1 / (good.shape[0] * good.shape[1]))
    layers = torch.from_numpy(np.asarray(good, np.float32))
    return torch.stack([torch.einsum("h,hyx->yx", weights, layer) for layer in layers]).sum(dim=0)


def divide_by_prior(attention: Tensor, prior: Tensor | None) -> Tensor:
    """Return the (…, grid_h, grid_w) density of attention divided by the prior's.

    Args:
        attention: (…, grid_h, grid_w), at least 0.
        prior: (h, w) density on normal images, of any grid; None returns attention unchanged.
    """
    if prior is None:
        return attention
    # Dividing by almost 0 would turn a trace of attention into a peak.
    grid = (attention.shape[-2], attention.shape[-1])
    return density(attention) / _on_grid(prior, grid).clamp(min=0.1)


def sink_share(attention: Tensor, prior: Tensor) -> float:
    """Return the share of a (grid_h, grid_w) map's attention that is on sinks, in [0, 1]."""
    dense = density(attention)
    sinks = _on_grid(prior, (attention.shape[0], attention.shape[1])) > SINK
    return float(dense[sinks].sum() / dense.sum().clamp(min=1e-12))


def _on_grid(prior: Tensor, grid: tuple[int, int]) -> Tensor:
    resized = interpolate(prior[None, None], grid, mode="bilinear", align_corners=False)[0, 0]
    return resized / resized.mean()
