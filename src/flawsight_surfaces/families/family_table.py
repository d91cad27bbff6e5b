"""All families of surfaces, and their split."""

from collections.abc import Callable
from dataclasses import dataclass

from ..drawing.draw import Draw
from ..drawing.surface import Surface
from . import (
    boards,
    coverings,
    food,
    goods,
    machined,
    mechanics,
    parts,
    patterned,
    photographed,
    sets,
    textures,
    tracks,
)


@dataclass(frozen=True)
class Family:
    """How a family of surfaces is drawn and named.

    material: decides which defects and features it gets; made_of, noun: words that are true of it;
    items: the name of the items on it, in the singular; binary: also seen as a scan in black
    and white.
    """

    draw: Callable[[Draw], Surface]
    material: str
    made_of: str = ""
    noun: str = "surface"
    items: str | None = None
    binary: bool = False


FAMILIES: dict[str, Family] = {
    "brushed metal": Family(textures.brushed_metal, "metal", "metal"),
    "cast metal": Family(textures.cast_metal, "metal", "metal"),
    "painted metal": Family(textures.painted_metal, "coated", "painted metal"),
    "anodised metal": Family(textures.anodised, "coated", "metal"),
    "turned metal": Family(patterned.turned_metal, "metal", "metal"),
    "knurled metal": Family(patterned.knurled_metal, "metal", "metal"),
    "ground metal": Family(machined.ground_metal, "metal", "metal"),
    "milled face": Family(machined.milled_face, "metal", "metal"),
    "streaked block": Family(machined.streaked_block, "metal", "metal", "block"),
    "sintered face": Family(machined.sintered_face, "metal", "sintered metal"),
    "ferrite tile": Family(machined.ferrite_tile, "stone", "ferrite", "tile"),
    "tube": Family(machined.tube, "metal", "metal", "tube"),
    "rolled strip": Family(machined.rolled_strip, "metal", "metal", "strip"),
    "rail": Family(machined.rail, "metal", "metal", "rail"),
    "threaded rod": Family(machined.threaded_rod, "metal", "metal", "rod"),
    "screw shaft": Family(machined.screw_shaft, "metal", "metal", "shaft"),
    "welded plate": Family(machined.welded_plate, "metal", "metal", "plate"),
    "drilled plate": Family(machined.drilled_plate, "metal", "metal", "plate", "bore"),
    "rough casting": Family(machined.rough_casting, "metal", "metal", "casting"),
    "coil spring": Family(machined.coil_spring, "part", "metal", "spring", binary=True),
    "bracket": Family(machined.bracket, "part", "metal", "bracket", binary=True),
    "metal foil": Family(textures.foil, "sheet", "metal foil", "sheet"),
    "marble": Family(textures.marble, "stone", "marble"),
    "granite": Family(textures.granite, "stone", "granite"),
    "concrete": Family(textures.concrete, "stone", "concrete"),
    "asphalt": Family(textures.asphalt, "stone", "asphalt"),
    "ceramic": Family(textures.ceramic, "stone", "ceramic"),
    "speckled flooring": Family(textures.speckled_flooring, "stone", "stone", "floor"),
    "tiled": Family(patterned.tiled_wall, "stone", "ceramic", "wall"),
    "brick wall": Family(coverings.brick_wall, "stone", "brick", "wall"),
    "wooden": Family(textures.wood, "wood", "wood", "board"),
    "wood veneer": Family(textures.veneer, "wood", "wood"),
    "parquet": Family(coverings.parquet, "wood", "wood", "floor"),
    "leather": Family(textures.leather, "soft", "leather"),
    "rubber": Family(textures.rubber, "soft", "rubber"),
    "foam": Family(textures.foam, "soft", "foam"),
    "ribbed rubber": Family(patterned.ribbed_rubber, "soft", "rubber", "mat"),
    "tyre tread": Family(coverings.tyre_tread, "soft", "rubber", "tread"),
    "felt": Family(textures.felt, "fabric", "felt", "cloth"),
    "woven fabric": Family(patterned.woven_fabric, "fabric", "fabric", "cloth"),
    "knitted fabric": Family(patterned.knitted_fabric, "fabric", "fabric", "cloth"),
    "denim": Family(patterned.denim, "fabric", "fabric", "cloth"),
    "carpet": Family(patterned.carpet, "fabric", "fabric", "carpet"),
    "striped cloth": Family(patterned.striped_cloth, "fabric", "fabric", "cloth"),
    "printed cloth": Family(patterned.printed_cloth, "fabric", "printed fabric", "cloth"),
    "wicker": Family(coverings.wicker, "fabric", "woven bands", "mat"),
    "rope": Family(coverings.rope, "fabric", "fibre", "rope"),
    "zipper": Family(coverings.zipper, "fabric", "fabric", "zipper", "tooth"),
    "paper": Family(textures.paper, "sheet", "paper", "sheet"),
    "cardboard": Family(textures.cardboard, "sheet", "cardboard", "sheet"),
    "printed label": Family(patterned.printed_label, "sheet", "paper", "label", binary=True),
    "plastic film": Family(textures.film, "sheet", "plastic", "film"),
    "carton": Family(goods.carton, "sheet", "cardboard", "box"),
    "blister pack": Family(sets.blister_pack, "sheet", "foil", "pack", "tablet"),
    "glossy plastic": Family(textures.glossy_plastic, "coated", "plastic"),
    "grained plastic": Family(textures.grained_plastic, "coated", "plastic"),
    "toy brick": Family(sets.toy_bricks, "coated", "plastic", "brick", "stud"),
    "wire mesh": Family(patterned.wire_mesh, "metal", "metal", "mesh", binary=True),
    "perforated sheet": Family(patterned.perforated_sheet, "metal", "metal", "sheet", binary=True),
    "honeycomb": Family(coverings.honeycomb, "metal", "metal", "honeycomb", binary=True),
    "circuit board": Family(parts.circuit_board, "board", "resin", "circuit board"),
    "bare board": Family(tracks.bare_board, "tracks", "copper", "circuit board", binary=True),
    "antenna": Family(tracks.antenna, "tracks", "copper", "antenna", binary=True),
    "comb electrode": Family(tracks.comb_electrode, "tracks", "copper", "electrode", binary=True),
    "component board": Family(boards.component_board, "board", "resin", "circuit board"),
    "module board": Family(boards.module_board, "board", "resin", "circuit board"),
    "solder pads": Family(boards.solder_pads, "board", "resin", "circuit board", "pad"),
    "chip package": Family(boards.chip_package, "board", "resin", "chip", "pin"),
    "pin connector": Family(boards.pin_connector, "board", "plastic", "connector", "pin"),
    "lamp panel": Family(boards.lamp_panel, "board", "plastic", "panel", "lamp"),
    "solar cell": Family(boards.solar_cell, "board", "silicon", "solar cell"),
    "wafer": Family(boards.wafer, "board", "silicon", "wafer"),
    "transistor": Family(boards.transistor, "board", "resin", "transistor", "lead"),
    "cable bundle": Family(boards.cable_bundle, "coated", "plastic", "cable"),
    "cable end": Family(boards.cable_end, "part", "plastic", "cable"),
    "machined disc": Family(parts.machined_disc, "part", "metal", "disc"),
    "hex nut": Family(parts.hex_nut, "part", "metal", "nut"),
    "washers": Family(mechanics.washers, "part", "metal", "washer", "washer"),
    "gears": Family(mechanics.gears, "part", "metal", "gear", "gear", binary=True),
    "bearing": Family(mechanics.bearing, "part", "metal", "bearing", "ball"),
    "screws": Family(mechanics.screws, "part", "metal", "screw", "screw"),
    "moulded cap": Family(parts.moulded_cap, "part", "plastic", "cap"),
    "lids": Family(sets.lids, "part", "plastic", "lid", "lid"),
    "buttons": Family(sets.buttons, "part", "plastic", "button", "button"),
    "housing": Family(goods.housing, "part", "plastic", "housing"),
    "brush": Family(goods.brush, "part", "plastic", "brush", "tuft"),
    "bottle mouth": Family(parts.bottle_mouth, "part", "glass", "bottle"),
    "bottle": Family(goods.bottle, "part", "glass", "bottle"),
    "lens": Family(goods.lens, "part", "glass", "lens"),
    "cube": Family(parts.cube, "part", "plastic", "block"),
    "block": Family(goods.block, "part", "plastic", "block"),
    "held block": Family(goods.held_block, "part", "plastic", "block"),
    "pill": Family(parts.pill, "organic", "powder", "tablet"),
    "capsule": Family(parts.capsule, "organic", "gelatine", "capsule"),
    "gel capsules": Family(sets.gel_capsules, "organic", "gelatine", "capsule", "capsule"),
    "tablet array": Family(sets.tablets, "organic", "powder", "tablet", "tablet"),
    "nutshell": Family(parts.shelled_nut, "organic", "shell", "nut"),
    "seeds": Family(sets.seeds, "organic", "shell", "seed", "seed"),
    "biscuit": Family(food.biscuit, "organic", "dough", "biscuit"),
    "cracker": Family(food.cracker, "organic", "dough", "cracker"),
    "chocolate bar": Family(food.chocolate_bar, "organic", "chocolate", "bar"),
    "fruit": Family(food.fruit, "organic", "skin", "fruit"),
    "toast": Family(food.toast, "organic", "bread", "slice"),
    "kernel": Family(food.kernel, "organic", noun="kernel"),
    "egg": Family(food.egg, "organic", noun="egg"),
    "snacks": Family(food.snacks, "organic", "dough", "snack", "snack"),
}

# Drawn only if a photo is given.
PHOTO_FAMILIES: dict[str, Family] = {
    "photographed scene": Family(photographed.photographed_scene, "photo", noun="scene"),
    "photographed surface": Family(photographed.photographed_surface, "photo"),
}

# Held out as a whole: scores on them measure how well unseen surfaces are judged.
VALIDATION_FAMILIES: tuple[str, ...] = (
    "marble", "denim", "perforated sheet", "moulded cap", "threaded rod", "pin connector", "fruit",
    "foam", "toast",
)  # fmt: skip
TEST_FAMILIES: tuple[str, ...] = (
    "cast metal", "leather", "knitted fabric", "striped cloth", "hex nut", "capsule",
    "milled face", "brick wall", "parquet", "carton", "toy brick", "chip package", "bearing",
    "cracker", "transistor", "egg",
)  # fmt: skip
TRAIN_FAMILIES: tuple[str, ...] = tuple(
    name for name in FAMILIES if name not in VALIDATION_FAMILIES + TEST_FAMILIES
)


def family_named(name: str) -> Family:
    """The family of a name, also one that is made of a photo."""
    return FAMILIES[name] if name in FAMILIES else PHOTO_FAMILIES[name]
