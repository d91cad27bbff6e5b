"""Renders one surface twice: as it should be and with defects."""

from dataclasses import replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from .defect_regions import find_regions
from .defects.apply_defects import apply_defects
from .defects.defect_table import DEFECTS, suitable
from .drawing.camera import draw_camera
from .drawing.draw import Draw
from .drawing.geometry import View, draw_view, window
from .drawing.surface import Field, Surface
from .facts import (
    color_of,
    count_of,
    features_of,
    is_even,
    locate,
    shows_several,
    union_of,
)
from .families.backdrop import cut_out
from .families.family_table import FAMILIES, PHOTO_FAMILIES, TRAIN_FAMILIES, Family, family_named
from .features.add_features import add_feature, add_features
from .sample import SurfaceSample

_SETS = ("bore", "screw", "rivet", "drill dimple", "sticker", "slot")


def _perfect(draw: Draw, family: Family, defect: str | None, features: int) -> Surface:
    """A surface of a family without any defect, with its benign features."""
    surface = family.draw(draw)
    surface = replace(surface, image=np.clip(surface.image, 0, 1))
    plain = surface.region is None and surface.pattern is None and not surface.items
    if plain and draw.chance(0.25):
        surface = cut_out(draw, surface)
    if defect is not None and DEFECTS[defect].of_items and not surface.items:
        for least in (3, 3, 2, 1):  # it needs several items
            if not surface.items:
                surface = add_feature(draw, surface, str(draw.choice(_SETS)), least)
    return add_features(draw, surface, family.material, features)


def _draw_surfaces(
    rng: np.random.Generator,
    size: tuple[int, int],
    family: Family,
    defect: str | None,
    difficulty: float,
    defects: int,
    features: int,
    photo: NDArray[np.uint8] | None,
) -> tuple[View, Surface, Surface, list[tuple[str, Field]]]:
    """(view, perfect surface, with defects, kind and alpha of each), drawn until one fits."""
    kinds = suitable(family.material) if defect is None else [defect]
    for attempt in count():
        if attempt == 5:
            kinds = suitable(family.material)
        view = draw_view(rng, *size, difficulty)
        draw = Draw(rng, *view.canvas, photo)
        perfect = _perfect(draw, family, defect, features)
        fitting = [kind for kind in kinds if perfect.items or not DEFECTS[kind].of_items]
        if not fitting:
            continue
        defective, layers = apply_defects(draw, perfect, fitting, defects, difficulty, view)
        if layers:
            break
    return view, perfect, defective, layers


def render_pair(
    rng: np.random.Generator,
    size: tuple[int, int] = (192, 192),
    *,
    family: str | None = None,
    defect: str | None = None,
    difficulty: float = 1.0,
    defects: int = 1,
    features: int | None = None,
    photo: NDArray[np.uint8] | None = None,
) -> tuple[SurfaceSample, SurfaceSample]:
    """Render the same surface, light and camera without and with defects: (normal, defective).

    Args:
        rng: decides everything that is not named.
        size: (height, width), sides of 64..1024 px.
        family: key of FAMILIES; None draws one of TRAIN_FAMILIES.
        defect: key of DEFECTS; None draws from the TRAIN_DEFECTS that suit the family. A defect of
            items brings items with it if the family has none. If they do not fit, another kind is
            drawn.
        difficulty: in [0, 1]; 0: large, high-contrast defects and a clean camera; 1: small and
            faint ones too and a noisy camera.
        defects: how many, 1..4; fewer if there is no room.
        features: how many benign features at most; None for 0..3, fewer at low difficulty.
        photo: (h, w, 3) RGB of any size and content, without defects that matter: the background
            of what lies on one, or if no family is named in half the cases the surface itself.

    Raises:
        ValueError: if the named defect does not occur on the material of the named family.
    """
    if family is None:
        names = [
            n
            for n in TRAIN_FAMILIES
            if defect is None or FAMILIES[n].material in DEFECTS[defect].materials
        ]
        if photo is not None:  # a surface, or what lies before it
            lying = [n for n in names if FAMILIES[n].material in ("part", "organic")]
            names = list(PHOTO_FAMILIES) if rng.random() < 0.5 or not lying else lying
        family = names[rng.integers(len(names))]
    chosen = family_named(family)
    if defect is not None and chosen.material not in DEFECTS[defect].materials:
        raise ValueError(f"A {defect} does not occur on a {family} surface.")
    if features is None:
        features = int(rng.binomial(3, 0.5 * difficulty))
    view, surface, with_defects, layers = _draw_surfaces(
        rng, size, chosen, defect, difficulty, defects, features, photo
    )
    draw = Draw(rng, *size)
    binary = chosen.binary and draw.chance(0.5)
    camera = draw_camera(draw, difficulty, binary)
    seen = view.image(surface.image)
    normal = camera.expose(seen)
    if not binary and not 0.07 < float(normal.mean()) < 0.94:  # nobody keeps such a photo
        camera = draw_camera(draw, 0.0)
        normal = camera.expose(seen)
    changed = window(np.any([alpha > 0 for _, alpha in layers], axis=0), 4)
    seen = seen.copy()
    seen[changed] = view.image(with_defects.image, changed)
    defective = camera.expose(seen)
    regions = find_regions(normal, defective, layers, camera, difficulty)
    seed = int(rng.integers(2**32))
    first = camera.develop(np.random.default_rng(seed), normal)
    second = camera.develop(np.random.default_rng(seed + int(camera.fresh)), defective)
    placed = locate(surface, view)
    gray = camera.monochrome
    color, even = color_of(placed, first), is_even(placed, first)
    normal_sample, defective_sample = (
        SurfaceSample(
            image,
            union_of(found, size),
            int(bool(found)),
            family,
            found,
            features_of(placed, image, found, gray),
            color,
            count_of(placed, found),
            placed.background,
            shows_several(placed),
            even and not found,
        )
        for image, found in ((first, ()), (second, regions))
    )
    return normal_sample, defective_sample
