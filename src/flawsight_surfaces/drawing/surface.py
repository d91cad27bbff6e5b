"""What families draw: surfaces, and what is laid on them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Floats = NDArray[np.floating]  # of any precision
Way = tuple[float, float]  # a direction: (sine, cosine) of its angle
Mask = NDArray[np.bool_]


def materials(names: str) -> frozenset[str]:
    """The set of materials named, with blanks between; see `Family.material`."""
    return frozenset(names.split())


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
