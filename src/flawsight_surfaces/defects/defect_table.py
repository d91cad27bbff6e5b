"""All kinds of defect, and the materials they occur on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..drawing.canvas import Canvas, Layer
from ..drawing.surface import Item
from ..drawing.surface import materials as _on
from . import areal, foreign, linear, of_items, outline


@dataclass(frozen=True)
class Defect:
    """How a defect is drawn, and the materials (see families) it occurs on.

    at_rim: on an object or pattern it sits at the outline rather than anywhere.
    of_outline: it reaches beyond the object.
    of_items: something is wrong with one of several items.
    """

    draw: Callable[[Canvas], Layer]
    materials: frozenset[str]
    at_rim: bool = False
    of_outline: bool = False
    of_items: bool = False


_OTHER = _on("metal coated stone wood soft fabric sheet part board organic photo")
_ALL = _OTHER | _on("tracks")


def _of_an_item(draw: Callable[[Canvas, Item], Layer]) -> Defect:
    on_canvas = partial(of_items.of_an_item, draw)
    return Defect(on_canvas, _OTHER - _on("photo"), of_outline=True, of_items=True)


DEFECTS: dict[str, Defect] = {
    "scratch": Defect(linear.scratch, _ALL - _on("fabric")),
    "scuff": Defect(linear.scuff, _OTHER - _on("fabric")),
    "crack": Defect(linear.crack, _ALL - _on("fabric sheet soft photo")),
    "cut": Defect(linear.cut, _on("photo soft fabric sheet coated wood board organic tracks")),
    "fibre": Defect(linear.fibre, _ALL),
    "crease": Defect(linear.crease, _on("photo soft fabric sheet metal")),
    "dent": Defect(
        partial(areal.relief, sign=-1.0, rough=0.12), _ALL - _on("fabric board stone tracks")
    ),
    "bump": Defect(partial(areal.relief, sign=1.0, rough=0.05), _ALL - _on("stone board tracks")),
    "pit": Defect(areal.pit, _on("metal coated stone wood part organic soft")),
    "hole": Defect(areal.hole, _ALL - _on("stone")),
    "stain": Defect(areal.stain, _OTHER),
    "spot": Defect(areal.spot, _ALL),
    "discoloration": Defect(areal.discoloration, _OTHER),
    "corrosion patch": Defect(areal.corrosion, _on("metal coated part board tracks")),
    "smear": Defect(areal.smear, _OTHER),
    "worn patch": Defect(areal.worn_patch, _ALL - _on("stone board tracks")),
    "burn": Defect(areal.burn, _on("wood soft fabric sheet coated board organic photo")),
    "bubble": Defect(areal.bubble, _on("coated sheet soft stone part organic")),
    "chip": Defect(areal.chip, _on("stone coated wood part organic board tracks"), at_rim=True),
    "missing piece": Defect(areal.missing_piece, _ALL, at_rim=True),
    "misprint": Defect(areal.misprint, _on("sheet fabric board tracks photo")),
    "missing component": _of_an_item(of_items.missing),
    "extra component": _of_an_item(of_items.extra),
    "misplaced component": _of_an_item(of_items.misplaced),
    "miscolored component": _of_an_item(of_items.miscolored),
    "bent component": _of_an_item(of_items.bent),
    "broken component": _of_an_item(of_items.broken),
    "burr": Defect(outline.burr, _on("part tracks"), at_rim=True, of_outline=True),
    "deformation": Defect(
        outline.deformation, _on("part fabric tracks"), at_rim=True, of_outline=True
    ),
    "break": Defect(outline.break_, _on("part organic")),
    "short circuit": Defect(outline.short_circuit, _on("tracks"), of_outline=True),
    "open circuit": Defect(outline.open_circuit, _on("tracks"), of_outline=True),
    "droplet": Defect(foreign.droplet, _OTHER - _on("fabric")),
    "swarf": Defect(foreign.swarf, _on("metal coated part board tracks")),
    "foreign particle": Defect(foreign.particle, _ALL),
    "foreign patch": Defect(foreign.patch, _ALL),
    "fingerprint": Defect(foreign.fingerprint, _on("metal coated part sheet board")),
    "residue": Defect(foreign.residue, _OTHER),
    "run": Defect(foreign.run, _on("coated stone wood part board")),
    "flaking": Defect(foreign.flaking, _on("coated metal wood stone part")),
    "porosity": Defect(foreign.porosity, _on("metal stone coated part organic")),
    "gouge": Defect(foreign.gouge, _on("metal coated wood soft part stone")),
    "chatter": Defect(foreign.chatter, _on("metal coated")),
}


# Drawn only if named: scores on them measure how well unseen kinds are found.
TEST_DEFECTS: tuple[str, ...] = (
    "cut", "bubble", "swarf", "porosity", "extra component",
)  # fmt: skip
TRAIN_DEFECTS: tuple[str, ...] = tuple(name for name in DEFECTS if name not in TEST_DEFECTS)


def suitable(material: str, kinds: tuple[str, ...] = TRAIN_DEFECTS) -> list[str]:
    """The defects of some kinds that occur on a material."""
    return [name for name in kinds if material in DEFECTS[name].materials]
