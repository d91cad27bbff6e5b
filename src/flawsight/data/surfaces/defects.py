"""The registry of all defects and of the materials they occur on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import defects_areal as areal
from . import defects_linear as linear
from .canvas import Canvas, Layer


@dataclass(frozen=True)
class Defect:
    """How a defect is drawn, and the materials (see families) it occurs on.

    at_rim: on an object or pattern it sits at the outline rather than anywhere.
    of_outline: it reaches beyond the object.
    of_items: something is wrong with one of several like things.
    """

    draw: Callable[[np.random.Generator, Canvas], Layer]
    materials: frozenset[str]
    at_rim: bool = False
    of_outline: bool = False
    of_items: bool = False


def _on(materials: str) -> frozenset[str]:
    return frozenset(materials.split())


_ALL = _on("metal coated stone wood soft fabric sheet part board organic tracks")

DEFECTS: dict[str, Defect] = {
    "scratch": Defect(linear.scratch, _ALL - _on("fabric")),
    "scuff": Defect(linear.scuff, _ALL - _on("fabric")),
    "crack": Defect(linear.crack, _ALL - _on("fabric sheet soft")),
    "cut": Defect(linear.cut, _on("soft fabric sheet coated wood board organic tracks")),
    "fibre": Defect(linear.fibre, _ALL),
    "crease": Defect(linear.crease, _on("soft fabric sheet metal")),
    "dent": Defect(areal.dent, _ALL - _on("fabric board stone tracks")),
    "bump": Defect(areal.bump, _ALL - _on("stone board tracks")),
    "pit": Defect(areal.pit, _on("metal coated stone wood part organic soft")),
    "hole": Defect(areal.hole, _ALL - _on("stone")),
    "stain": Defect(areal.stain, _ALL),
    "spot": Defect(areal.spot, _ALL),
    "discoloration": Defect(areal.discoloration, _ALL),
    "corrosion patch": Defect(areal.corrosion, _on("metal coated part board tracks")),
    "smear": Defect(areal.smear, _ALL),
    "worn patch": Defect(areal.worn_patch, _ALL - _on("stone board tracks")),
    "burn": Defect(areal.burn, _on("wood soft fabric sheet coated board organic")),
    "bubble": Defect(areal.bubble, _on("coated sheet soft stone part organic")),
    "chip": Defect(areal.chip, _on("stone coated wood part organic board tracks"), at_rim=True),
    "missing piece": Defect(areal.missing_piece, _ALL, at_rim=True),
    "misprint": Defect(areal.misprint, _on("sheet fabric board tracks")),
}


# Drawn only when named, so that scores on them tell how well an unseen kind is found.
TEST_DEFECTS: tuple[str, ...] = ("cut", "bubble")
TRAIN_DEFECTS: tuple[str, ...] = tuple(name for name in DEFECTS if name not in TEST_DEFECTS)


def suitable(material: str, kinds: tuple[str, ...] = TRAIN_DEFECTS) -> list[str]:
    """The defects of some kinds that occur on a material."""
    return [name for name in kinds if material in DEFECTS[name].materials]
