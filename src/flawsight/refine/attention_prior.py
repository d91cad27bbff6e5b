"""What is known of a model's heads beforehand: looks.npz in its folder, by `calibrate --heads`."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import CalibrationError, ModelError
from ..inspection import Trace
from ..mllm.capture import head_weights
from ..mllm.response import parse_response
from ..real.heads import best_heads, head_agreement
from ..real.select import reasoning_rows
from ..settings import Settings

FILE = "looks.npz"
GRID = (15, 15)


@dataclass(frozen=True)
class Looks:
    """How the words of one model look at images.

    Attributes:
        heads: (layer, head) pairs that localize.
        good: (L, H, 15, 15) mean density of each head's attention on good images.
        agreement: (L, H) score by which the heads were chosen, see real/heads.py.
        images: how many good and how many defective images this is from.
        sha256: of the model's weights.
    """

    heads: tuple[tuple[int, int], ...]
    good: Tensor
    agreement: Tensor
    images: tuple[int, int]
    sha256: str

    def usual(
        self, layers: Sequence[int] | None, heads: Sequence[tuple[int, int]] | None
    ) -> Tensor:
        """Return the (15, 15) density on good images of the heads that the settings average."""
        weights = head_weights(self.good.shape[0], self.good.shape[1], layers, heads)
        return torch.stack(
            [
                torch.einsum("h,hyx->yx", weight, self.good[layer])
                for layer, weight in weights.items()
            ]
        ).sum(dim=0)


def measure(maps: Iterable[tuple[bool, Tensor]], share: float, sha256: str) -> Looks:
    """Choose heads and average good images.

    Args:
        maps: of each image whether it is defective, and its (L, H, grid_h, grid_w) attention.
        share: of the heads to keep, in (0, 1].
        sha256: of the model.

    Raises:
        CalibrationError: if there are no good or no defective images.
    """
    kinds: tuple[list[Tensor], list[Tensor]] = ([], [])
    for defective, attention in maps:
        means = attention.mean(dim=(-1, -2), keepdim=True).clamp(min=1e-30)
        resized = interpolate(attention / means, GRID, mode="bilinear", align_corners=False)
        kinds[defective].append(resized)
    if not kinds[0] or not kinds[1]:
        raise CalibrationError(
            f"There are {len(kinds[0])} good and {len(kinds[1])} defective images with a "
            "response; heads are chosen from both."
        )
    good = torch.stack(kinds[0]).mean(dim=0)
    bad = (torch.stack(kinds[1]) / good.clamp(min=0.1)).flatten(3).flatten(1, 2)
    agreement = head_agreement(bad).view(good.shape[:2])
    return Looks(
        best_heads(agreement, share), good, agreement, (len(kinds[0]), len(kinds[1])), sha256
    )


def head_map(trace: Trace, settings: Settings) -> Tensor | None:
    """Return each head's (L, H, grid_h, grid_w) mean attention over the reasoning tokens.

    None if there are none.

    Raises:
        AnswerError: if the response holds no Yes or No.
    """
    assert trace.head_attention is not None
    _, rows, _ = reasoning_rows(trace, parse_response(trace.text).reasoning, settings)
    return trace.head_attention[:, :, rows].mean(dim=2) if len(rows) else None


def encode_looks(looks: Looks) -> memoryview:
    """Return the content of looks.npz."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        heads=np.array(looks.heads, np.int64),
        good=looks.good.numpy().astype(np.float32),
        agreement=looks.agreement.numpy().astype(np.float32),
        images=np.array(looks.images),
        sha256=np.array(looks.sha256),
    )
    return content.getbuffer()


def load_looks(folder: Path, sha256: str) -> Looks | None:
    """Return the looks.npz of a model's folder; None if there is none.

    Raises:
        ModelError: if it is damaged, or was measured on other weights than those of this sha256.
    """
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            good, defective = arrays["images"].tolist()
            looks = Looks(
                tuple((layer, head) for layer, head in arrays["heads"].tolist()),
                torch.from_numpy(arrays["good"]),
                torch.from_numpy(arrays["agreement"]),
                (good, defective),
                str(arrays["sha256"]),
            )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ModelError(
            f"{path} cannot be read ({error}); remove it, or make it anew with flawsight "
            "calibrate --heads."
        ) from error
    if looks.sha256 != sha256:
        raise ModelError(
            f"{path} was measured on other weights; remove it, or make it anew with flawsight "
            "calibrate --heads."
        )
    return looks
