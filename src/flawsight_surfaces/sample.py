"""One rendered image and all that is known about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .drawing.surface import Mask


@dataclass(frozen=True)
class DefectRegion:
    """One defect as the image shows it; the regions of an image are disjoint."""

    mask: Mask  # (H, W), not empty
    kind: str  # key of DEFECTS
    tone: str | None  # one of TONES, if one is clearly true
    place: str  # one of the nine cells of a 3x3 grid

    @property
    def share(self) -> float:
        """Its area as a share of the image."""
        return float(self.mask.mean())


@dataclass(frozen=True)
class Feature:
    """Something harmless that belongs on the surface, or several alike as one."""

    kind: str  # in the singular, such as "screw"
    color: str | None  # one of COLORS, if one is clearly true
    place: str | None  # one of the nine cells or a span such as "along the left edge"
    box: tuple[int, int, int, int]  # top, left, bottom, right in pixels, ends excluded
    count: int = 1  # how many are visible


@dataclass(frozen=True)
class SurfaceSample:
    """One image of a surface with all that is known about it; all facts are of the final image."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    gt_mask: Mask  # (H, W), the union of all regions, all False if normal
    label: int  # 1 defective, 0 normal
    family: str  # key of FAMILIES
    defects: tuple[DefectRegion, ...] = ()  # the largest first
    features: tuple[Feature, ...] = ()
    color: str | None = None  # of the surface or part, if one word is clearly true
    count: int | None = None  # of the items that the family shows, see Family.items
    background: bool = False  # whether the background of the part is visible
    several: bool = False  # whether more than one of these items is in view, whole or not
    even: bool = False  # one material of one brightness fills the image, and nothing lies on it

    @property
    def defect(self) -> str | None:
        """The kind of the largest region."""
        return self.defects[0].kind if self.defects else None

    @property
    def tone(self) -> str | None:
        """The tone of the largest region."""
        return self.defects[0].tone if self.defects else None

    @property
    def place(self) -> str | None:
        """The place of the largest region."""
        return self.defects[0].place if self.defects else None
