"""The regions of defects in an image, each strong enough to be seen."""

import numpy as np

from .defects.apply_defects import FAINT, visible_mask
from .drawing.camera import Camera
from .drawing.geometry import window
from .drawing.surface import Field, Mask
from .sample import DefectRegion
from .words import place_word, tone_word


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
    """The least mean change of a defect: more if it is small or the texture is busy."""
    small = float(np.clip((0.008 / share) ** 0.3, 1.0, 2.0))
    busy = float(normal[window(mask)].mean(axis=2).std())
    floor = max((0.15 - 0.09 * difficulty) * small, (1.3 - 0.5 * difficulty) * busy, 1.5 * grain)
    return min(floor, 0.33)


def _flipped(normal: Field, defective: Field, alpha: Field, cut: float) -> tuple[Field, Mask]:
    """The defective image in black and white, and where it differs from the normal one.

    A defect that a scan would not show takes the other of the two tones.
    """
    before, after = normal > cut, defective > cut
    core = alpha > 0.5 * float(alpha.max())
    there = alpha > FAINT
    changed = (before != after)[..., 0] & there
    if changed.sum() < max(8, 0.4 * core.sum()):
        after = np.where(core[..., None], before[core].mean() < 0.5, before)
        changed = (before != after)[..., 0]
    after = np.where(there[..., None], after, before)
    return after.astype(np.float32), changed


def find_regions(
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
            box = window(alpha > 0)
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
            mask, box = visible_mask(alpha), window(alpha > 0)
            floor = _floor(normal, mask, float(mask.mean()), difficulty, camera.grain)
            defective[box] = _visible(normal[box], defective[box], alpha[box], mask[box], floor)
            regions.append((kind, mask))
    found = [
        DefectRegion(mask, kind, tone_word(normal, defective, mask), place_word(mask))
        for kind, mask in regions
    ]
    return tuple(sorted(found, key=lambda region: -region.share))
