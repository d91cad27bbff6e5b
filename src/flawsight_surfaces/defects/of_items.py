"""Defects of one of several items: each takes a canvas and returns one layer."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..drawing.canvas import Canvas, Layer
from ..drawing.fields import LUMA, mix, shade, smoothstep
from ..drawing.stamps import footprint, labels, lay, transformed, turned
from ..drawing.surface import Field, Item, Stamp

_PRINT = ("text", "logo", "engraving", "print")  # no components


def _pick(canvas: Canvas) -> Item | None:
    """An item that is whole in view, of a group of at least three if there is one."""
    height, width = canvas.shape
    whole = []
    for item in canvas.surface.items:
        if item.kind in _PRINT:
            continue
        h, w = item.stamp.alpha.shape
        inside = item.top > 0 and item.left > 0 and item.top + h < height and item.left + w < width
        if inside and (canvas.shown is None or bool(canvas.shown[item.box].all())):
            whole.append(item)
    if not whole:
        return None
    groups = [(item.kind, item.group) for item in whole]
    several = [item for item, group in zip(whole, groups, strict=True) if groups.count(group) > 2]
    chosen = several or whole
    return chosen[canvas.integers(len(chosen))]


def of_an_item(draw: Callable[[Canvas, Item], Layer], canvas: Canvas) -> Layer:
    """A defect of a picked item; nothing is drawn if no item is whole in view."""
    item = _pick(canvas)
    return canvas.nothing() if item is None else draw(canvas, item)


def _without(canvas: Canvas, item: Item) -> tuple[Field, Field]:
    """(image, where): the surface without an item, and where the item was."""
    image = canvas.image.copy()
    where = np.zeros(canvas.shape, np.float32)
    where[item.box] = footprint(item.stamp)
    now, under = image[item.box], item.under
    bare = item.stamp.alpha < 0.05
    if bare.sum() > 8:  # soiling or a shadow may have been drawn over it since
        gain = (now[bare].mean(axis=0) + 0.02) / (under[bare].mean(axis=0) + 0.02)
        under = np.clip(under * np.clip(gain, 0.4, 1.8), 0, 1)
    image[item.box] = mix(now, under, where[item.box])
    return image, where


def _changed(canvas: Canvas, image: Field) -> Layer:
    """A layer that turns the surface into an image of which a part is different."""
    return Layer(smoothstep(0.01, 0.03, np.abs(image - canvas.image).max(axis=2)), image)


def _replaced(
    canvas: Canvas, item: Item, stamp: Stamp, shift: tuple[float, float] = (0, 0)
) -> Layer:
    """A layer that shows another stamp instead of an item, its center shifted."""
    image, _ = _without(canvas, item)
    h, w = item.stamp.alpha.shape
    lay(image, stamp, (item.top + h / 2 + shift[0], item.left + w / 2 + shift[1]), item.kind)
    return _changed(canvas, image)


def missing(canvas: Canvas, item: Item) -> Layer:
    """One item is missing: its empty place shows."""
    image, where = _without(canvas, item)
    return Layer(where, image)


def misplaced(canvas: Canvas, item: Item) -> Layer:
    """One item is shifted out of its row or turned."""
    side = min(item.stamp.alpha.shape)
    shift = canvas.uniform(0.2, 0.55, 2) * side * canvas.choice([-1, 1], 2)
    shift = shift * (canvas.random(2) < 0.75)
    turn = float(canvas.choice([-1, 1]) * canvas.uniform(15, 90))
    if not shift.any():
        shift[int(canvas.integers(2))] = 0.35 * side
    return _replaced(canvas, item, transformed(item.stamp, turn), (shift[0], shift[1]))


def extra(canvas: Canvas, item: Item) -> Layer:
    """One more item lies where none belongs."""
    stamp = turned(canvas, item.stamp)
    height, width = canvas.shape
    taken = labels(canvas.surface.items, canvas.shape) > 0
    if canvas.shown is not None:
        taken |= ~canvas.shown
    h, w = stamp.alpha.shape
    # Next to the others if there is room; else half over one of them.
    side = min(item.stamp.alpha.shape) / 2
    row, column = item.top + h / 2 + side, item.left + w / 2 + side
    for _ in range(40):
        if h >= height - 2 or w >= width - 2:
            break
        top, left = int(canvas.integers(1, height - h)), int(canvas.integers(1, width - w))
        if not taken[top : top + h, left : left + w].any():
            row, column = top + h / 2, left + w / 2
            break
    image = canvas.image.copy()
    lay(image, stamp, (row, column), item.kind)
    return _changed(canvas, image)


def miscolored(canvas: Canvas, item: Item) -> Layer:
    """One item has another color."""
    paint = item.stamp.paint
    luma = (paint @ LUMA) / max(0.05, float((paint @ LUMA).mean()))
    other = canvas.color(saturation=(0.3, 1), value=(0.15, 1))
    for _ in range(6):
        if float(np.abs(other - paint.mean(axis=(0, 1))).mean()) > 0.2:
            break
        other = canvas.color(saturation=(0.0, 1), value=(0.1, 1))
    tinted = np.clip(shade(other, luma), 0, 1)
    image = canvas.image.copy()
    image[item.box] = mix(image[item.box], tinted, item.stamp.alpha)
    return _changed(canvas, image)


def bent(canvas: Canvas, item: Item) -> Layer:
    """One item is sheared or squashed."""
    way = canvas.sign()
    if canvas.chance(0.6):
        turn, shear = way * canvas.uniform(0, 15), way * canvas.uniform(0.35, 0.8)
        other = transformed(item.stamp, turn, shear)
    else:
        other = transformed(item.stamp, canvas.uniform(0, 180), 0.0, canvas.uniform(0.5, 0.75))
    return _replaced(canvas, item, other)


def broken(canvas: Canvas, item: Item) -> Layer:
    """A piece of one item is broken off along a rough line."""
    h, w = item.stamp.alpha.shape
    piece = canvas.sized(h, w)
    v, _ = piece.turned(piece.uniform(0, 6.3))
    rough = piece.smooth(max(2.0, piece.unit / 6)) * 0.05
    rest = smoothstep(-0.02, 0.02, v + rough + canvas.uniform(-0.05, 0.25))
    shadow = None if item.stamp.shadow is None else item.stamp.shadow * rest
    other = replace(item.stamp, alpha=item.stamp.alpha * rest, shadow=shadow)
    return _replaced(canvas, item, other)
