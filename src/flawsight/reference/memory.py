"""Reference: what good photos look like to a model's vision encoder, and what is usual among them.

Each photo is also compared with the others alone (leave one out). That says how far good patches
usually lie from good ones, how good photos score, and which of the photos is an odd one.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from PIL.Image import open as open_image
from torch import Tensor

from ..calibration import conformal_threshold
from ..errors import LearnError
from ..frame import cells_inside
from ..roi import roi_in_words
from .compare import image_distance, nearest, on_scale
from .coreset import greedy_coreset
from .stored import GoodPhoto, StoredReference

# Patches kept at most. Time and memory of a comparison grow with them.
LARGEST = 4096
# Share of the false alarms among good photos that is promised if there are enough photos for it.
RATE = 0.01


@dataclass(frozen=True)
class Reference(StoredReference):
    """The memory of good photos, with what is usual among them."""

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        pictures: Sequence[bytes],
        vectors: Sequence[Tensor],
        **made_with: Any,
    ) -> Self:
        """Make a reference of the (h, w, d) patch vectors of n photos, each at least 2 × 2.

        Args:
            names: of the photos.
            pictures: of the photos.
            vectors: of the photos.
            **made_with: `blocks`, `settings` and `model_sha256`.
        """
        roi = made_with["settings"].get("roi")
        counted = [_counted(roi, each) for each in vectors]
        flat = torch.cat([each[inside] for each, inside in zip(vectors, counted, strict=True)])
        places = np.concatenate(
            [
                _places(index, each)[inside.flatten().numpy()]
                for index, (each, inside) in enumerate(zip(vectors, counted, strict=True))
            ]
        )
        kept = greedy_coreset(flat, LARGEST)
        memory, places = flat[kept].half(), places[kept.numpy()]
        owner = torch.from_numpy(places[:, 0])
        photos = []
        given = zip(names, pictures, vectors, counted, strict=True)
        for index, (name, picture, own, inside) in enumerate(given):
            others = memory[owner != index]
            distances = (
                nearest(own.flatten(0, 1), others)[0].view(own.shape[:2])
                if len(others)
                else _distances_within(own, inside)
            )
            distances = distances.masked_fill(~inside, math.nan)
            photos.append(GoodPhoto(name, picture, distances))
        return cls(memory, places, tuple(photos), **made_with)

    @property
    def usual(self) -> float:
        """How far good patches lie from others: the mean over all photos."""
        return float(torch.stack([photo.distances.nanmean() for photo in self.photos]).mean())

    @property
    def scores(self) -> list[float]:
        """Each photo's score in comparison with the others; none if there is but one photo."""
        if len(self.photos) < 2:
            return []
        return [self.score(photo.distances) for photo in self.photos]

    def typical(self, count: int) -> tuple[Image, ...]:
        """Return the photos that are nearest to the others as RGB images, the nearest first.

        Raises:
            LearnError: if there are fewer than `count`.
        """
        if count > len(self.photos):
            raise LearnError(
                f"The reference has {len(self.photos)} photos, fewer than the {count} for the "
                "prompt (--reference-prompt)."
            )
        nearest = sorted(self.photos, key=lambda photo: image_distance(photo.distances))
        return tuple(
            open_image(io.BytesIO(photo.picture)).convert("RGB") for photo in nearest[:count]
        )

    @property
    def sha256(self) -> str:
        """Hash of what scores and maps depend on, which runs and calibrations record."""
        parts = [self.vectors.numpy().tobytes(), np.float64(self.usual).tobytes()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def compare(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far each patch of an image is from good ones.

        Args:
            vectors: (h, w, d).

        Returns:
            (h, w) float32 in units of the usual distance of good patches, NaN outside of a mask of
            the region of interest, and (h, w) int64, which of the memory's patches is the nearest.
        """
        distances, index = nearest(vectors.flatten(0, 1), self.vectors)
        shape = vectors.shape[:2]
        inside = _counted(self.settings.get("roi"), vectors).to(distances.device)
        far = (distances / self._unit).view(shape).masked_fill(~inside, math.nan)
        return far, index.view(shape)

    def score(self, distances: Tensor) -> float:
        """Return the score in [0, 1) of an image whose patches have (h, w) distances."""
        return on_scale(image_distance(distances) / self._unit)

    def threshold(self, false_alarm_rate: float | None = None) -> float:
        """Return above which score an image is called defective.

        Of the photos' own scores, so that a good photo like them exceeds it with the probability
        `false_alarm_rate` at most.

        Args:
            false_alarm_rate: in (0, 1); None is `lowest_rate`.

        Raises:
            CalibrationError: if there are too few photos for the rate.
        """
        scores = self.scores
        if false_alarm_rate is None and 1 / (len(scores) + 1) >= RATE and scores:
            return max(scores)
        return conformal_threshold(scores, RATE if false_alarm_rate is None else false_alarm_rate)

    @property
    def lowest_rate(self) -> float:
        """The lowest rate of false alarms that n photos can promise, 1 / (n + 1), or 1 %."""
        return max(RATE, 1 / (len(self.scores) + 1))

    @property
    def _unit(self) -> float:
        return max(self.usual, float(np.finfo(np.float32).tiny))

    def check(self, model_sha256: str, settings: dict[str, Any]) -> None:
        """Raise LearnError unless an inspector with this model and these settings can use it."""
        if model_sha256 != self.model_sha256:
            raise LearnError(
                "The reference was learned with another model; learn the photos again with this "
                "one (flawsight learn REFERENCE --out NEW takes the photos of a reference)."
            )
        if (roi := self.settings.get("roi")) != settings.get("roi"):
            raise LearnError(
                f"The reference was learned with {roi_in_words(roi)}, not "
                f"{roi_in_words(settings.get('roi'))}; give the same --roi, or learn the photos "
                "again with this one."
            )
        if differ := [name for name, value in self.settings.items() if settings[name] != value]:
            shown = ", ".join(f"{name} {self.settings[name]}" for name in differ)
            raise LearnError(
                f"The reference was learned with {shown}; inspect with the same, or learn the "
                "photos again."
            )


def _places(index: int, vectors: Tensor) -> NDArray[np.int32]:
    height, width = vectors.shape[:2]
    rows, columns = np.indices((height, width), dtype=np.int32).reshape(2, -1)
    return np.stack([np.full_like(rows, index), rows, columns], axis=1)


def _counted(roi: str | None, vectors: Tensor) -> Tensor:
    """Return which of the patches of (h, w, d) vectors lie in the region of interest, (h, w)."""
    height, width = vectors.shape[:2]
    inside = cells_inside(roi, (height, width))
    return torch.ones(height, width).bool() if inside is None else torch.from_numpy(inside)


def _distances_within(vectors: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return the (h, w) distances of patches from those at least a quarter of the sides away.

    Only patches `inside`, (h, w), are compared with; if none is so far away, with all others.
    """
    height, width, _ = vectors.shape
    inside = torch.ones(height, width).bool() if inside is None else inside
    rows, columns = (torch.from_numpy(side) for side in np.indices((height, width)).reshape(2, -1))
    distances = torch.cdist(vectors.flatten(0, 1), vectors.flatten(0, 1))
    near = ((rows[:, None] - rows).abs() < max(1, height / 4)) & (
        (columns[:, None] - columns).abs() < max(1, width / 4)
    )
    near |= ~inside.flatten()
    alone = near.all(dim=1, keepdim=True)
    others = ~inside.flatten() | torch.eye(len(near), dtype=torch.bool)
    far = distances.masked_fill(torch.where(alone, others, near), math.inf).min(dim=1).values
    return far.nan_to_num(posinf=0.0).view(height, width)
