"""The registry of all families of surfaces and their split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import parts, patterned, textures
from .sample import Surface


@dataclass(frozen=True)
class Family:
    """How a family of surfaces is drawn and what one calls it.

    material: decides which defects and features it gets; made_of, noun: words that are true of it;
    items: what its like parts are called, in the singular; binary: also seen as a scan in black
    and white.
    """

    draw: Callable[[np.random.Generator, int, int], Surface]
    material: str
    made_of: str = ""
    noun: str = "surface"
    items: str | None = None
    binary: bool = False


FAMILIES: dict[str, Family] = {
    "brushed metal": Family(textures.brushed_metal, "metal"),
    "cast metal": Family(textures.cast_metal, "metal"),
    "painted metal": Family(textures.painted_metal, "coated"),
    "anodised metal": Family(textures.anodised, "coated"),
    "turned metal": Family(patterned.turned_metal, "metal"),
    "knurled metal": Family(patterned.knurled_metal, "metal"),
    "metal foil": Family(textures.foil, "sheet"),
    "marble": Family(textures.marble, "stone"),
    "granite": Family(textures.granite, "stone"),
    "concrete": Family(textures.concrete, "stone"),
    "ceramic": Family(textures.ceramic, "stone"),
    "speckled flooring": Family(textures.speckled_flooring, "stone"),
    "tiled": Family(patterned.tiled_wall, "stone"),
    "wooden": Family(textures.wood, "wood"),
    "wood veneer": Family(textures.veneer, "wood"),
    "leather": Family(textures.leather, "soft"),
    "rubber": Family(textures.rubber, "soft"),
    "ribbed rubber": Family(patterned.ribbed_rubber, "soft"),
    "felt": Family(textures.felt, "fabric"),
    "woven fabric": Family(patterned.woven_fabric, "fabric"),
    "knitted fabric": Family(patterned.knitted_fabric, "fabric"),
    "denim": Family(patterned.denim, "fabric"),
    "carpet": Family(patterned.carpet, "fabric"),
    "striped cloth": Family(patterned.striped_cloth, "fabric"),
    "paper": Family(textures.paper, "sheet"),
    "cardboard": Family(textures.cardboard, "sheet"),
    "printed label": Family(patterned.printed_label, "sheet"),
    "plastic film": Family(textures.film, "sheet"),
    "glossy plastic": Family(textures.glossy_plastic, "coated"),
    "grained plastic": Family(textures.grained_plastic, "coated"),
    "wire mesh": Family(patterned.wire_mesh, "metal"),
    "perforated sheet": Family(patterned.perforated_sheet, "metal"),
    "circuit board": Family(parts.circuit_board, "board"),
    "machined disc": Family(parts.machined_disc, "part"),
    "hex nut": Family(parts.hex_nut, "part"),
    "moulded cap": Family(parts.moulded_cap, "part"),
    "bottle mouth": Family(parts.bottle_mouth, "part"),
    "cube": Family(parts.cube, "part"),
    "pill": Family(parts.pill, "organic"),
    "capsule": Family(parts.capsule, "organic"),
    "tablet array": Family(parts.row_of_tablets, "organic"),
    "nutshell": Family(parts.shelled_nut, "organic"),
}

# Held out whole and of every kind, so that scores on them tell how well the unseen is judged.
VALIDATION_FAMILIES: tuple[str, ...] = ("marble", "denim", "perforated sheet", "moulded cap")
TEST_FAMILIES: tuple[str, ...] = (
    "cast metal", "leather", "knitted fabric", "striped cloth", "hex nut", "capsule",
)  # fmt: skip
TRAIN_FAMILIES: tuple[str, ...] = tuple(
    name for name in FAMILIES if name not in VALIDATION_FAMILIES + TEST_FAMILIES
)
