"""All benign features: what belongs on a surface or does no harm, and on which materials."""

from collections.abc import Callable
from dataclasses import dataclass

from ..drawing import hardware
from ..drawing.draw import Draw
from ..drawing.surface import Surface
from ..drawing.surface import materials as _on
from . import marks


@dataclass(frozen=True)
class Benign:
    """How a feature is drawn, and the materials (see families) on which it occurs.

    stamp: a small thing, one or several alike; mark: one that runs over the surface.
    size: of a stamp, in units; single: never several; least: never fewer, since alone it would
    look like a defect; outside: also drawn on the background.
    """

    materials: frozenset[str]
    stamp: hardware.MakeStamp | None = None
    mark: Callable[[Draw, Surface], marks.Drawn] | None = None
    size: tuple[float, float] = (0.06, 0.14)
    single: bool = False
    outside: bool = False
    least: int = 1


_HARD = _on("metal coated part wood board stone")
_ALL = _HARD | _on("soft fabric sheet organic tracks photo")

FEATURES: dict[str, Benign] = {
    "bore": Benign(_HARD | _on("sheet soft"), hardware.hole, size=(0.05, 0.13), least=2),
    "slot": Benign(_on("metal coated part"), hardware.slot, size=(0.05, 0.1)),
    "screw": Benign(_HARD, hardware.screw, size=(0.07, 0.15)),
    "rivet": Benign(_on("metal coated part soft fabric"), hardware.rivet, size=(0.05, 0.1)),
    "drill dimple": Benign(_on("metal part coated"), hardware.dimple, size=(0.04, 0.09), least=2),
    "boss": Benign(_on("coated"), hardware.boss, size=(0.1, 0.2)),
    "sticker": Benign(_ALL - _on("organic"), hardware.sticker, size=(0.08, 0.18)),
    "label": Benign(_ALL - _on("organic"), hardware.label, size=(0.12, 0.22), single=True),
    "text": Benign(_ALL - _on("fabric"), hardware.text, size=(0.1, 0.2), single=True),
    "engraving": Benign(_on("metal part coated soft"), hardware.engraving, single=True),
    "logo": Benign(_ALL, hardware.logo, size=(0.1, 0.2), single=True),
    "bar code": Benign(_HARD | _on("sheet"), hardware.barcode, size=(0.12, 0.2), single=True),
    "matrix code": Benign(_HARD | _on("sheet"), hardware.matrix_code, single=True),
    "seam": Benign(_ALL - _on("organic stone board photo"), mark=marks.seam),
    "weld bead": Benign(_on("metal"), mark=marks.weld_bead),
    "ridge": Benign(_on("metal coated soft sheet part"), mark=marks.ridge),
    "stripe": Benign(_on("metal coated sheet soft fabric"), mark=marks.stripe),
    "scale": Benign(_on("metal coated sheet"), mark=marks.scale_marks),
    "machining lines": Benign(_on("metal part"), mark=marks.machining_lines),
    "tool marks": Benign(_on("metal part"), mark=marks.tool_marks),
    "edge": Benign(_ALL - _on("part organic photo"), mark=marks.edge),
    "chamfer": Benign(_on("part"), mark=marks.chamfer),
    "clamp": Benign(_on("part board"), mark=marks.clamp, outside=True),
    "thread run": Benign(_on("fabric"), mark=marks.thread_run),
    "knot": Benign(_on("wood"), mark=marks.knot),
    "shading": Benign(_ALL, mark=marks.grain_patch),
    "crumbs": Benign(_on("organic"), mark=marks.crumbs, outside=True),
    "dust": Benign(_ALL, mark=marks.dust),
    "soiling": Benign(_ALL, mark=marks.soiling),
    "watermark": Benign(_ALL - _on("fabric"), mark=marks.watermark),
    "highlight": Benign(_ALL - _on("fabric"), mark=marks.highlight),
    "shadow": Benign(_ALL, mark=marks.shadow),
}
