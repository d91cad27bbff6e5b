"""Words for places, tones and colors, each given only if it is clearly true."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from .drawing.fields import LUMA
from .drawing.geometry import bounds, window
from .drawing.surface import Field, Mask

TONES = (
    "dark", "bright", "shaded", "reddish", "yellowish", "brownish", "greenish", "bluish",
)  # fmt: skip
_SPANS = {  # of what is wide (True) or tall
    True: ("along the upper edge", "across the center", "along the lower edge"),
    False: ("along the left edge", "down the center", "along the right edge"),
}
_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "center", "right")
COLORS = (
    "black", "white", "gray", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink",
)  # fmt: skip


def place_word(mask: Mask) -> str:
    """The cell of a 3x3 grid that holds the centroid of a non-empty (H, W) mask.

    If less than a quarter of the mask lies there, as with a ring, the cell that holds most of it.
    """
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    row = min(2, int(3 * (rows.mean() + 0.5) / height))
    column = min(2, int(3 * (columns.mean() + 0.5) / width))
    cells = np.bincount(6 * rows // (2 * height) * 3 + 6 * columns // (2 * width), minlength=9)
    if 4 * cells[3 * row + column] < len(rows):
        row, column = divmod(int(cells.argmax()), 3)
    if row == column == 1:
        return "center"
    return f"{_ROWS[row]} {_COLUMNS[column]}"


def _hue_word(color: Field, luma_change: float) -> str | None:
    """The hue of an RGB color as a word, None when it is too gray to name."""
    red, green, blue = (float(min(max(c, 0.0), 1.0)) for c in color)
    hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
    if saturation < 0.15:
        return None
    degrees = hue * 360
    if degrees < 18 or degrees >= 330:
        return "reddish"
    if degrees < 75:
        return "brownish" if luma_change < -0.03 or degrees < 30 else "yellowish"
    if degrees < 170:
        return "greenish"
    return "bluish" if degrees < 265 else None


def tone_word(normal: Field, defective: Field, mask: Mask) -> str | None:
    """How the defect differs from its surroundings: one of TONES, or None.

    normal, defective: (H, W, 3) in [0, 1]; mask: (H, W), non-empty.
    """
    box = window(mask, 2 + max(mask.shape) // 24)
    inside = mask[box]
    after = defective[box]
    change = after[inside] - normal[box][inside]
    luma = change @ LUMA
    luma_change = float(luma.mean())
    up = float(np.maximum(luma, 0).mean())
    down = up - luma_change
    if min(up, down) > 0.4 * max(up, down) and max(up, down) > 0.015:
        return "shaded"
    mean_change = change.mean(axis=0)
    own_color: Field = after[inside].mean(axis=0)
    around: Field = own_color - mean_change if inside.all() else after[~inside].mean(axis=0)
    # A hue is named only when the color moved towards it and the defect itself shows it.
    if float(np.ptp(mean_change)) > max(0.04, 0.9 * abs(luma_change)):
        word = _hue_word(own_color, luma_change)
        shift: Field = mean_change - mean_change.min()
        known = _hue_word(around, luma_change)  # a hue that the surroundings share says nothing
        if word and word != known and _same_hue(shift, own_color):
            return word
    contrast = float((own_color - around) @ LUMA)
    if abs(luma_change) > 0.015 and contrast * luma_change > 0 and abs(contrast) > 0.01:
        return "dark" if luma_change < 0 else "bright"
    return None


def _same_hue(first: Field, second: Field) -> bool:
    """Whether two colors lie within 50 degrees of hue."""
    hues = [colorsys.rgb_to_hsv(*np.maximum(c, 0).tolist())[0] for c in (first, second)]
    gap = abs(hues[0] - hues[1])
    return min(gap, 1 - gap) < 50 / 360


def span_words(mask: Mask) -> str | None:
    """The place of something that may be longer than a cell, or None."""
    height, width = mask.shape
    top, left, bottom, right = bounds(mask)
    top, bottom, left, right = top / height, bottom / height, left / width, right / width
    tall, wide = bottom - top > 0.55, right - left > 0.55
    if tall == wide:
        return None if tall else place_word(mask)
    low, high = (top, bottom) if wide else (left, right)
    first, middle, last = _SPANS[wide]
    if high < 0.4:
        return first
    if low > 0.6:
        return last
    return middle if low > 0.25 and high < 0.75 else None


def color_words(pixels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """(N,) index into COLORS of RGB pixels (N, 3), -1 between two words."""
    rgb = pixels.astype(np.float32) / 255
    high, low = rgb.max(axis=1), rgb.min(axis=1)
    spread = high - low
    saturation = spread / np.maximum(high, 1e-3)
    red, green, blue = rgb.T
    gap = np.maximum(spread, 1e-6)
    other = np.where(high == green, (blue - red) / gap + 2, (red - green) / gap + 4)
    hue = np.where(high == red, ((green - blue) / gap) % 6, other) * 60
    plain = (saturation < 0.14) | (spread < 0.05)
    hued = (saturation > 0.28) & (spread > 0.1)
    warm = hued & (hue > 14) & (hue < 42)
    deep = (saturation > 0.6) & (high > 0.7)
    rosy = (hue >= 335) | (hue < 14)
    rules = [
        (plain | (high < 0.14)) & (high < 0.2),
        plain & (low > 0.82),
        plain & (high > 0.27) & (high < 0.76),
        hued & ((hue >= 345) | (hue < 12)) & (saturation > 0.45) & (high > 0.25),
        warm & deep & (hue > 18),
        warm & ~deep & (high < 0.72),
        hued & (hue > 46) & (hue < 66) & (high > 0.5),
        hued & (hue > 78) & (hue < 165),
        hued & (hue > 190) & (hue < 250),
        hued & (hue > 265) & (hue < 310),
        hued & ((hue >= 318) & (hue < 345) | rosy & (saturation < 0.45)) & (high > 0.65),
    ]
    return np.select(rules, range(len(COLORS)), -1)


def color_word(pixels: NDArray[np.uint8]) -> str | None:
    """The color word that holds for the mean and for most of the RGB pixels (N, 3), or None."""
    if len(pixels) == 0:
        return None
    mean = color_words(pixels.mean(axis=0, keepdims=True).round().astype(np.uint8))[0]
    if mean < 0 or (color_words(pixels) == mean).mean() < 0.5:
        return None
    return COLORS[mean]
