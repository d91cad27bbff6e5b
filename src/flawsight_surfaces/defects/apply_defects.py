"""Applies defects to a perfect surface."""

from dataclasses import replace

import numpy as np

from ..drawing.canvas import Canvas, Layer
from ..drawing.draw import Draw
from ..drawing.fields import mix
from ..drawing.geometry import View
from ..drawing.surface import Field, Mask, Surface
from .defect_table import DEFECTS

FAINT = 0.02  # alpha below which a defect does not show


def _center(draw: Draw, surface: Surface, shown: Mask | None, at_rim: bool) -> tuple[float, float]:
    """A random place on the object or its rim, or anywhere but the very border."""
    zone = surface.region
    if at_rim and zone is None and surface.pattern is not None:
        zone = surface.pattern.cover
    if zone is not None:
        inside = (zone > 0.1) & (zone < 0.9) if at_rim else zone > 0.9
        places = np.flatnonzero(inside if shown is None else inside & shown)
    else:
        places = np.flatnonzero(shown) if shown is not None else np.zeros(0, np.intp)
    if places.size:
        row, column = divmod(int(places[draw.integers(places.size)]), draw.width)
        return float(row), float(column)
    return draw.uniform(0.06, 0.94) * draw.height, draw.uniform(0.06, 0.94) * draw.width


def _draw(draw: Draw, surface: Surface, kind: str, difficulty: float, shown: Mask | None) -> Layer:
    """A defect that lies on the object for the most part."""
    defect = DEFECTS[kind]
    best = -1.0
    for _ in range(8):
        center = _center(draw, surface, shown, defect.at_rim)
        layer = defect.draw(Canvas(draw.rng, surface, center, difficulty, shown))
        whole = float(layer.alpha.sum())
        if surface.region is not None and not defect.of_outline:
            layer = replace(layer, alpha=layer.alpha * surface.region)
        kept = float(layer.alpha.sum())
        if kept > max(6.0, (0.35 if defect.at_rim else 0.55) * whole) and layer.alpha.max() > 0.5:
            return layer
        if kept > best:
            chosen, best = layer, kept
    return chosen


def visible_mask(alpha: Field) -> Mask:
    """Where a defect visibly is; thin lines at small sizes have a low peak and still count."""
    return alpha > min(0.25, 0.5 * float(alpha.max()))


def apply_defects(
    draw: Draw, surface: Surface, kinds: list[str], number: int, difficulty: float, view: View
) -> tuple[Surface, list[tuple[str, Field]]]:
    """The surface with up to `number` defects that do not touch, and each's kind and alpha seen."""
    drawn: list[tuple[str, Field]] = []
    taken = np.zeros(draw.shape, np.bool_)
    covered: Mask | bool = False  # the same in the image: neighbours may share a pixel there alone
    shown = view.shown()
    for attempt in range(4 * number + 8):
        if len(drawn) == number or (drawn and attempt > 4 * number):
            break
        # Other kinds than before: what is said of an image names each kind once.
        fresh = [kind for kind in kinds if kind not in {name for name, _ in drawn}] or kinds
        kind = fresh[draw.integers(len(fresh))]
        layer = _draw(draw, surface, kind, difficulty, shown)
        seen = view.field(np.clip(layer.alpha, 0, 1))
        mask = visible_mask(seen)
        if float(seen.max()) < 0.1 or mask.sum() < 4 or mask.mean() > 0.4:
            continue
        if (taken & (layer.alpha > 0)).any() or (covered & (seen > FAINT)).any():
            continue
        taken |= layer.alpha > 0
        covered |= seen > FAINT
        surface = replace(surface, image=mix(surface.image, layer.paint, layer.alpha))
        drawn.append((kind, seen))
    return surface, drawn
