"""Renders one surface twice: as it should be and with defects."""

from dataclasses import replace

import numpy as np

from .camera import draw_camera
from .canvas import Canvas, Layer
from .defects import DEFECTS, suitable
from .families import FAMILIES, TRAIN_FAMILIES
from .noise import mix
from .sample import DefectRegion, Field, Mask, Surface, SurfaceSample, place_word, tone_word


def _center(rng: np.random.Generator, surface: Surface, at_rim: bool) -> tuple[float, float]:
    """A random place on the object or its rim, or anywhere but the very border."""
    height, width = surface.image.shape[:2]
    if surface.region is not None:
        region = surface.region
        inside = np.flatnonzero((region > 0.1) & (region < 0.9) if at_rim else region > 0.9)
        if inside.size:
            row, column = divmod(int(inside[rng.integers(inside.size)]), width)
            return float(row), float(column)
    return float(rng.uniform(0.06, 0.94) * height), float(rng.uniform(0.06, 0.94) * width)


def _draw(rng: np.random.Generator, surface: Surface, defect: str, difficulty: float) -> Layer:
    """A defect that lies on the object for the most part."""
    at_rim = DEFECTS[defect].at_rim
    best = -1.0
    for _ in range(8):
        canvas = Canvas(surface, _center(rng, surface, at_rim), difficulty)
        layer = DEFECTS[defect].draw(rng, canvas)
        whole = float(layer.alpha.sum())
        if surface.region is not None:
            layer = replace(layer, alpha=layer.alpha * surface.region)
        kept = float(layer.alpha.sum())
        if kept > max(6.0, (0.35 if at_rim else 0.55) * whole) and float(layer.alpha.max()) > 0.5:
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


def _visible(
    normal: Field, defective: Field, alpha: Field, mask: Mask, share: float, difficulty: float
) -> Field:
    """The defective image with its defect amplified to the least that an eye can see.

    Small defects (share of the image) and those on a busy texture need more contrast to be seen.
    All fields are the part of the image that holds the defect.
    """
    inside, before, after = alpha[mask][:, None], normal[mask], defective[mask]
    small = float(np.clip((0.008 / share) ** 0.3, 1.0, 2.0))
    rows, columns = np.nonzero(mask)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    busy = float(normal[box].mean(axis=2).std())
    floor = max((0.15 - 0.09 * difficulty) * small, (1.3 - 0.5 * difficulty) * busy)
    floor = min(floor, 0.33)
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
    result = normal + (defective - normal) * np.float32(gain)
    result = np.clip(result, 0, 1)
    result[mask] = after
    return result


def _spoil(
    rng: np.random.Generator, surface: Surface, kinds: list[str], number: int, difficulty: float
) -> tuple[Surface, list[tuple[str, Field]]]:
    """The surface with up to `number` defects that do not touch, and kind and alpha of each."""
    drawn: list[tuple[str, Field]] = []
    taken = np.zeros(surface.image.shape[:2], np.bool_)
    for attempt in range(3 * number):
        if len(drawn) == number:
            break
        kind = kinds[rng.integers(len(kinds))]
        layer = _draw(rng, surface, kind, difficulty)
        if attempt and (taken & (layer.alpha > 0)).any():
            continue
        taken |= layer.alpha > 0
        surface = replace(surface, image=mix(surface.image, layer.paint, layer.alpha))
        drawn.append((kind, layer.alpha))
    return surface, drawn


def render_twins(
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
    None for 0..3, fewer at low difficulty.
    """
    height, width = size
    if family is None:
        family = TRAIN_FAMILIES[rng.integers(len(TRAIN_FAMILIES))]
    kinds = suitable(FAMILIES[family].material) if defect is None else [defect]
    drawn = FAMILIES[family].draw(rng, height, width)
    surface = replace(drawn, image=np.clip(drawn.image, 0, 1))
    camera = draw_camera(rng, height, width, difficulty)
    spoiled, layers = _spoil(rng, surface, kinds, defects, difficulty)
    normal, defective = camera.expose(surface.image), camera.expose(spoiled.image)
    regions = []
    for kind, alpha in layers:
        mask, box = _mask(alpha), _box(alpha)
        share = float(mask.mean())
        defective[box] = _visible(
            normal[box], defective[box], alpha[box], mask[box], share, difficulty
        )
        regions.append(
            DefectRegion(mask, kind, tone_word(normal, defective, mask), place_word(mask))
        )
    regions.sort(key=lambda region: -region.share)
    empty = np.zeros((height, width), np.bool_)
    union = np.any([region.mask for region in regions], axis=0)
    return (
        SurfaceSample(camera.develop(rng, normal), empty, 0, family),
        SurfaceSample(camera.develop(rng, defective), union, 1, family, tuple(regions)),
    )
