"""Defects of one among several like things: each takes a canvas."""

from dataclasses import replace

import numpy as np

from ..drawing.canvas import Canvas, Layer
from ..drawing.fields import mix, shade, smoothstep
from ..drawing.stamps import footprint, labels, lay, transformed
from ..drawing.surface import Field, Item, Stamp

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _pick(canvas: Canvas) -> Item | None:
    """One thing that is whole in view, of the largest groups more often than of small ones."""
    height, width = canvas.shape
    whole = []
    for item in canvas.surface.items:
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


def _nothing(canvas: Canvas) -> Layer:
    return Layer(np.zeros(canvas.shape, np.float32), np.zeros(3, np.float32))


def _without(canvas: Canvas, item: Item) -> tuple[Field, Field]:
    """(image, where): the surface without a thing, and where the thing was."""
    image = canvas.surface.image.copy()
    where = np.zeros(canvas.shape, np.float32)
    where[item.box] = footprint(item.stamp)
    now, under = image[item.box], item.under
    bare = item.stamp.alpha < 0.05
    if bare.sum() > 8:  # soiling or a shadow may have been laid over it since
        gain = (now[bare].mean(axis=0) + 0.02) / (under[bare].mean(axis=0) + 0.02)
        under = np.clip(under * np.clip(gain, 0.4, 1.8), 0, 1)
    image[item.box] = mix(now, under, where[item.box])
    return image, where


def _changed(canvas: Canvas, image: Field) -> Layer:
    """A layer that turns the surface into an image of which a part is different."""
    change = np.abs(image - canvas.surface.image).max(axis=2)
    return Layer(smoothstep(0.01, 0.03, change), image)


def _replaced(canvas: Canvas, item: Item, stamp: Stamp, shift: tuple[float, float]) -> Layer:
    """A layer that shows another stamp instead of a thing, its center shifted."""
    image, _ = _without(canvas, item)
    h, w = item.stamp.alpha.shape
    lay(image, stamp, (item.top + h / 2 + shift[0], item.left + w / 2 + shift[1]), item.kind)
    return _changed(canvas, image)


def missing(canvas: Canvas) -> Layer:
    """One of several things is not there: its empty place shows."""
    item = _pick(canvas)
    if item is None:
        return _nothing(canvas)
    image, where = _without(canvas, item)
    return Layer(where, image)


def misplaced(canvas: Canvas) -> Layer:
    """One of several things is shifted out of its row or turned."""
    item = _pick(canvas)
    if item is None:
        return _nothing(canvas)
    side = min(item.stamp.alpha.shape)
    shift = (
        canvas.uniform(0.2, 0.55, 2) * side * canvas.choice([-1, 1], 2) * (canvas.random(2) < 0.75)
    )
    turn = float(canvas.choice([-1, 1]) * canvas.uniform(15, 90))
    if not shift.any():
        shift[int(canvas.integers(2))] = 0.35 * side
    return _replaced(canvas, item, transformed(item.stamp, turn), (shift[0], shift[1]))


def extra(canvas: Canvas) -> Layer:
    """One more of several things lies where none belongs."""
    item = _pick(canvas)
    if item is None:
        return _nothing(canvas)
    stamp = transformed(item.stamp, canvas.uniform(0, 360))
    height, width = canvas.shape
    taken = labels(canvas.surface.items, canvas.shape) > 0
    if canvas.shown is not None:
        taken |= ~canvas.shown
    h, w = stamp.alpha.shape
    # Beside the others where there is room; else half over one of them.
    side = min(item.stamp.alpha.shape) / 2
    row, column = item.top + h / 2 + side, item.left + w / 2 + side
    for _ in range(40):
        if h >= height - 2 or w >= width - 2:
            break
        top, left = int(canvas.integers(1, height - h)), int(canvas.integers(1, width - w))
        if not taken[top : top + h, left : left + w].any():
            row, column = top + h / 2, left + w / 2
            break
    image = canvas.surface.image.copy()
    lay(image, stamp, (row, column), item.kind)
    return _changed(canvas, image)


def miscolored(canvas: Canvas) -> Layer:
    """One of several things has another color."""
    item = _pick(canvas)
    if item is None:
        return _nothing(canvas)
    paint = item.stamp.paint
    luma = (paint @ _LUMA) / max(0.05, float((paint @ _LUMA).mean()))
    other = canvas.color(saturation=(0.3, 1), value=(0.15, 1))
    for _ in range(6):
        if float(np.abs(other - paint.mean(axis=(0, 1))).mean()) > 0.2:
            break
        other = canvas.color(saturation=(0.0, 1), value=(0.1, 1))
    tinted = np.clip(shade(other, luma), 0, 1)
    image = canvas.surface.image.copy()
    image[item.box] = mix(image[item.box], tinted, item.stamp.alpha)
    return _changed(canvas, image)


def bent(canvas: Canvas) -> Layer:
    """One of several things is sheared or squashed."""
    item = _pick(canvas)
    if item is None:
        return _nothing(canvas)
    way = canvas.sign()
    if canvas.chance(0.6):
        other = transformed(
            item.stamp, way * canvas.uniform(0, 15), way * canvas.uniform(0.35, 0.8)
        )
    else:
        other = transformed(item.stamp, canvas.uniform(0, 180), 0.0, canvas.uniform(0.5, 0.75))
    return _replaced(canvas, item, other, (0.0, 0.0))


def broken(canvas: Canvas) -> Layer:
    """A piece of one of several things is broken off along a rough line."""
    item = _pick(canvas)
    if item is None:
        return _nothing(canvas)
    h, w = item.stamp.alpha.shape
    piece = canvas.sized(h, w)
    v, _ = piece.turned(piece.uniform(0, 6.3))
    rough = piece.smooth(max(2.0, piece.unit / 6)) * 0.05
    rest = smoothstep(-0.02, 0.02, v + rough + canvas.uniform(-0.05, 0.25))
    shadow = None if item.stamp.shadow is None else item.stamp.shadow * rest
    other = replace(item.stamp, alpha=item.stamp.alpha * rest, shadow=shadow)
    return _replaced(canvas, item, other, (0.0, 0.0))
