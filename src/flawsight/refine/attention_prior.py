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
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import CalibrationError, ModelError, SettingsError
from ..real.anomaly_map import density

FILE = "attention_prior.npz"
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
        model_sha256: of the model's weights.
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
        ModelError: if it is damaged or belongs to other weights.
    """
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values = np.asarray(arrays["density"], np.float32)
            if values.shape != GRID or not np.isfinite(values).all():
                raise ValueError(f"its density is no {GRID} array of finite numbers")
            prior = AttentionPrior(
                torch.from_numpy(values),
                tuple(arrays["layers"].tolist()) or None,
                int(arrays["images"]),
                str(arrays["model_sha256"]),
            )
        if prior.model_sha256 != model_sha256:
            raise ValueError("it was measured on other weights")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise ModelError(
            f"{path} cannot be used ({error}); remove it, or make it again with flawsight prior."
        ) from error
    return prior


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
