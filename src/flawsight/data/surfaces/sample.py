"""What one rendered surface is, before the camera and as the image shows it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DefectRegion:
    """One defect as the image shows it; the regions of an image are disjoint."""

    mask: Mask  # (H, W), not empty
    kind: str  # key of DEFECTS
    tone: str | None  # one of TONES, where one is clearly true
    place: str  # one of the nine cells of a 3x3 grid

    @property
    def share(self) -> float:
        """Its area as a share of the image."""
        return float(self.mask.mean())


@dataclass(frozen=True)
class Feature:
    """Something harmless that belongs on the surface, or several alike as one."""

    kind: str  # in the singular, such as "screw"
    color: str | None  # a plain color word, where one is clearly true
    place: str | None  # one of the nine cells or a span such as "along the left edge"
    box: tuple[int, int, int, int]  # top, left, bottom, right in pixels, ends excluded
    count: int = 1  # how many are seen


@dataclass(frozen=True)
class SurfaceSample:
    """One image of a surface with all that is known about it; all facts are of the final image."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    gt_mask: Mask  # (H, W), the union of all regions, all False where normal
    label: int  # 1 defective, 0 normal
    family: str  # key of FAMILIES
    defects: tuple[DefectRegion, ...] = ()  # the largest first
    features: tuple[Feature, ...] = ()
    color: str | None = None  # of the surface or part, where one word is clearly true
    count: int | None = None  # of the like parts that a family shows, see Family.noun
    background: bool = False  # whether what lies behind the part is seen

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


@dataclass(frozen=True)
class Stamp:
    """A small picture: paint (h, w, 3) by alpha (h, w); shadow (h, w) darkens the ground."""

    alpha: Field
    paint: Field
    shadow: Field | None = None


@dataclass(frozen=True)
class Item:
    """One thing laid on a surface and what it covers, so that it can be taken away or moved."""

    kind: str  # in the singular, such as "screw"
    group: int  # items of one group are alike
    top: int  # of its box in the image
    left: int
    stamp: Stamp
    under: Field  # (h, w, 3)
    feature: bool  # drawn over the family, not by it

    @property
    def box(self) -> tuple[slice, slice]:
        """Where it lies in the image."""
        height, width = self.stamp.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True)
class Mark:
    """A benign feature that is no single thing, such as a seam; alpha (H, W) in [0, 1]."""

    kind: str
    alpha: Field


@dataclass(frozen=True)
class Pattern:
    """A pattern such as tracks or print: ink (3,) or (H, W, 3) on ground where cover is 1."""

    cover: Field  # (H, W) in [0, 1]
    ink: Field
    ground: Field


@dataclass(frozen=True)
class Surface:
    """A perfect surface as a family draws it, in the plane of the surface.

    image: (H, W, 3) in [0, 1]; region: (H, W) in [0, 1], where the object is (None: everywhere);
    under: (H, W, 3), what shows where the object is missing (None: its own inside).
    countable: the items of the family are so few and clear that they can be counted.
    """

    image: Field
    region: Field | None = None
    under: Field | None = None
    pattern: Pattern | None = None
    items: tuple[Item, ...] = ()
    marks: tuple[Mark, ...] = ()
    countable: bool = False
