"""Renders one surface twice: as it should be and with defects."""

from dataclasses import replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from .defects.defect_table import DEFECTS, suitable
from .drawing.camera import Camera, draw_camera
from .drawing.canvas import Canvas, Layer
from .drawing.geometry import View, draw_view
from .drawing.noise import mix
from .drawing.surface import Field, Mask, Surface
from .facts import Seen, color_of, count_of, features_of, look
from .families.family_table import FAMILIES, TRAIN_FAMILIES, Family
from .families.plates import cut_out
from .features.feature_table import add_feature, add_features
from .sample import DefectRegion, SurfaceSample
from .words import place_word, tone_word

_FAINT = 0.02  # alpha below which a defect does not show
_SETS = ("bore", "screw", "rivet", "drill dimple", "sticker", "slot")


def _center(
    rng: np.random.Generator, surface: Surface, shown: Mask | None, at_rim: bool
) -> tuple[float, float]:
    """A random place on the object or its rim, or anywhere but the very border."""
    height, width = surface.image.shape[:2]
    zone = surface.region
    if at_rim and zone is None and surface.pattern is not None:
        zone = surface.pattern.cover
    if zone is not None:
        inside = (zone > 0.1) & (zone < 0.9) if at_rim else zone > 0.9
        places = np.flatnonzero(inside if shown is None else inside & shown)
    else:
        places = np.flatnonzero(shown) if shown is not None else np.zeros(0, np.intp)
    if places.size:
        row, column = divmod(int(places[rng.integers(places.size)]), width)
        return float(row), float(column)
    return float(rng.uniform(0.06, 0.94) * height), float(rng.uniform(0.06, 0.94) * width)


def _draw(
    rng: np.random.Generator, surface: Surface, kind: str, difficulty: float, shown: Mask | None
) -> Layer:
    """A defect that lies on the object for the most part."""
    defect = DEFECTS[kind]
    best = -1.0
    for _ in range(8):
        center = _center(rng, surface, shown, defect.at_rim)
        layer = defect.draw(rng, Canvas(surface, center, difficulty, shown))
        whole = float(layer.alpha.sum())
        if surface.region is not None and not defect.of_outline:
            layer = replace(layer, alpha=layer.alpha * surface.region)
        kept = float(layer.alpha.sum())
        if kept > max(6.0, (0.35 if defect.at_rim else 0.55) * whole) and layer.alpha.max() > 0.5:
            return layer
        if kept > best:
            chosen, best = layer, kept
    return chosen


def _mask(alpha: Field) -> Mask:
    """Where a defect visibly is; thin lines at small sizes have a low peak and still count."""
    return alpha > min(0.25, 0.5 * float(alpha.max()))


def _box(alpha: Field) -> tuple[slice, slice]:
    """The smallest part of the image that holds a whole layer: the rest need not be computed."""
    rows, columns = (np.flatnonzero(alpha.max(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _visible(normal: Field, defective: Field, alpha: Field, mask: Mask, floor: float) -> Field:
    """The defective image with its defect amplified to the least that an eye can see.

    All fields are the part of the image that holds the defect.
    """
    inside, before, after = alpha[mask][:, None], normal[mask], defective[mask]
    strength = float(np.abs(after - before).mean())
    if strength >= floor:
        return defective
    gain = min(4.0, floor / max(strength, 1e-3))
    after = np.clip(before + (after - before) * np.float32(gain), 0, 1)
    strength = float(np.abs(after - before).mean())
    if strength < 0.97 * floor:
        # Clipped at black or white: go to the end that is farther away.
        end = 0.0 if float(before.mean()) > 0.45 else 1.0
        if (float(after.mean()) < float(before.mean())) != (end == 0.0):
            after, strength = before, 0.0
        reach = float((inside * np.abs(end - after)).mean())
        pull = min(1.0, (floor - strength) / max(reach, 1e-3))
        after = after + (end - after) * inside * np.float32(pull)
    result = np.clip(normal + (defective - normal) * np.float32(gain), 0, 1)
    result[mask] = after
    return np.where(alpha[..., None] > 0, result, defective)


def _floor(normal: Field, mask: Mask, share: float, difficulty: float, grain: float) -> float:
    """The least mean change of a defect: more where it is small or the texture is busy."""
    small = float(np.clip((0.008 / share) ** 0.3, 1.0, 2.0))
    rows, columns = np.nonzero(mask)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    busy = float(normal[box].mean(axis=2).std())
    floor = max((0.15 - 0.09 * difficulty) * small, (1.3 - 0.5 * difficulty) * busy, 1.5 * grain)
    return min(floor, 0.33)


def _flipped(normal: Field, defective: Field, alpha: Field, cut: float) -> tuple[Field, Mask]:
    """The defective image in black and white, and where it differs from the normal one.

    A defect that a scan would not show takes the other of the two tones.
    """
    before, after = normal > cut, defective > cut
    core = alpha > 0.5 * float(alpha.max())
    there = alpha > _FAINT
    changed = (before != after)[..., 0] & there
    if changed.sum() < max(8, 0.4 * core.sum()):
        after = np.where(core[..., None], before[core].mean() < 0.5, before)
        changed = (before != after)[..., 0]
    after = np.where(there[..., None], after, before)
    return after.astype(np.float32), changed


def _spoil(
    rng: np.random.Generator,
    surface: Surface,
    kinds: list[str],
    number: int,
    difficulty: float,
    view: View,
) -> tuple[Surface, list[tuple[str, Field]]]:
    """The surface with up to `number` defects that do not touch, and each's kind and alpha seen."""
    drawn: list[tuple[str, Field]] = []
    taken = np.zeros(surface.image.shape[:2], np.bool_)
    covered: Mask | bool = False  # the same in the image: neighbours may share a pixel there alone
    shown = view.shown()
    for attempt in range(4 * number + 8):
        if len(drawn) == number or (drawn and attempt > 4 * number):
            break
        kind = kinds[rng.integers(len(kinds))]
        layer = _draw(rng, surface, kind, difficulty, shown)
        seen = view.field(np.clip(layer.alpha, 0, 1))
        mask = _mask(seen)
        if float(seen.max()) < 0.1 or mask.sum() < 4 or mask.mean() > 0.4:
            continue
        if (taken & (layer.alpha > 0)).any() or (covered & (seen > _FAINT)).any():
            continue
        taken |= layer.alpha > 0
        covered |= seen > _FAINT
        surface = replace(surface, image=mix(surface.image, layer.paint, layer.alpha))
        drawn.append((kind, seen))
    return surface, drawn


def _regions(
    normal: Field,
    defective: Field,
    layers: list[tuple[str, Field]],
    camera: Camera,
    difficulty: float,
) -> tuple[DefectRegion, ...]:
    """The regions, the largest first; makes every defect visible in the defective image."""
    regions = []
    if camera.binary:
        cut = camera.threshold(normal)
        scanned = (normal > cut).astype(np.float32)
        for kind, alpha in layers:
            box = _box(alpha)
            changed = np.zeros(alpha.shape, np.bool_)
            tones, changed[box] = _flipped(normal[box], defective[box], alpha[box], cut)
            scanned_box = np.where(changed[box][..., None], tones, scanned[box])
            defective[box] = np.where(alpha[box][..., None] > 0, scanned_box, defective[box])
            if changed.any():
                regions.append((kind, changed))
        changes = np.any([mask for _, mask in regions], axis=0)
        defective[...] = np.where(changes[..., None], defective, scanned)
        normal[...] = scanned
    else:
        for kind, alpha in layers:
            mask, box = _mask(alpha), _box(alpha)
            floor = _floor(normal, mask, float(mask.mean()), difficulty, camera.grain)
            defective[box] = _visible(normal[box], defective[box], alpha[box], mask[box], floor)
            regions.append((kind, mask))
    found = [
        DefectRegion(mask, kind, tone_word(normal, defective, mask), place_word(mask))
        for kind, mask in regions
    ]
    return tuple(sorted(found, key=lambda region: -region.share))


def _perfect(
    rng: np.random.Generator,
    family: Family,
    size: tuple[int, int],
    defect: str | None,
    features: int,
) -> Surface:
    """A surface of a family without any defect, with its benign features."""
    surface = family.draw(rng, *size)
    surface = replace(surface, image=np.clip(surface.image, 0, 1))
    plain = surface.region is None and surface.pattern is None and not surface.items
    if plain and rng.random() < 0.25:
        surface = cut_out(rng, surface)
    if defect is not None and DEFECTS[defect].of_items and not surface.items:
        for least in (3, 3, 2, 1):  # it needs several like things
            if not surface.items:
                surface = add_feature(rng, surface, str(rng.choice(_SETS)), least)
    return add_features(rng, surface, family.material, features)


def _sample(
    image: NDArray[np.uint8],
    family: str,
    seen: Seen,
    color: str | None,
    regions: tuple[DefectRegion, ...],
    monochrome: bool,
) -> SurfaceSample:
    union = np.zeros(image.shape[:2], np.bool_)
    for region in regions:
        union |= region.mask
    return SurfaceSample(
        image,
        union,
        int(bool(regions)),
        family,
        regions,
        features_of(seen, image, regions, monochrome),
        color,
        count_of(seen, regions),
        seen.background,
    )


def render_pair(
    rng: np.random.Generator,
    size: tuple[int, int] = (192, 192),
    *,
    family: str | None = None,
    defect: str | None = None,
    difficulty: float = 1.0,
    defects: int = 1,
    features: int | None = None,
) -> tuple[SurfaceSample, SurfaceSample]:
    """The same surface, light and camera without and with defects: (normal, defective).

    size: (height, width), sides of 64..1024 px; difficulty in [0, 1]: 0 = large, high-contrast
    defects and a clean camera, 1 = small and faint ones too and a noisy camera.
    family None: drawn from TRAIN_FAMILIES; defect None: drawn from TRAIN_DEFECTS that suit it.
    defects: how many, 1..4, fewer where there is no room; features: how many benign ones at most,
    None for 0..3, fewer at low difficulty. A defect of like things that is named where a family
    has none brings such things with it; where they find no place, another kind is drawn.

    Raises:
        ValueError: if the named defect does not occur on the material of the named family.
    """
    if family is None:
        names = [
            n
            for n in TRAIN_FAMILIES
            if defect is None or FAMILIES[n].material in DEFECTS[defect].materials
        ]
        family = names[rng.integers(len(names))]
    look_of = FAMILIES[family]
    kinds = suitable(look_of.material) if defect is None else [defect]
    if defect is not None and look_of.material not in DEFECTS[defect].materials:
        raise ValueError(f"A {defect} does not occur on a {family} surface.")
    if features is None:
        features = int(rng.binomial(3, 0.5 * difficulty))
    layers: list[tuple[str, Field]] = []
    for attempt in count():  # at times there is no room for a defect
        if layers:
            break
        if attempt == 5:
            kinds = suitable(look_of.material)
        view = draw_view(rng, *size, difficulty)
        surface = _perfect(rng, look_of, view.canvas, defect, features)
        fitting = [kind for kind in kinds if surface.items or not DEFECTS[kind].of_items]
        if fitting:
            spoiled, layers = _spoil(rng, surface, fitting, defects, difficulty, view)
    binary = look_of.binary and bool(rng.random() < 0.5)
    camera = draw_camera(rng, *size, difficulty, binary)
    seen_normal, seen_defective = view.image(surface.image), view.image(spoiled.image)
    normal = camera.expose(seen_normal)
    if not binary and not 0.07 < float(normal.mean()) < 0.94:  # nobody keeps such a photo
        camera = draw_camera(rng, *size, 0.0)
        normal = camera.expose(seen_normal)
    defective = camera.expose(seen_defective)
    regions = _regions(normal, defective, layers, camera, difficulty)
    seed = int(rng.integers(2**32))
    first = camera.develop(np.random.default_rng(seed), normal)
    second = camera.develop(np.random.default_rng(seed + int(camera.fresh)), defective)
    seen = look(surface, view)
    gray = camera.monochrome
    color = color_of(seen, first, gray and not binary)
    return (
        _sample(first, family, seen, color, (), gray),
        _sample(second, family, seen, color, regions, gray),
    )
