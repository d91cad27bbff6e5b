"""What is printed, stamped or engraved: text, codes and marks, each as alpha (h, w) in [0, 1]."""

from functools import lru_cache
from string import ascii_uppercase

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import shapes
from .draw import Draw
from .surface import Field

_WORDS = (
    "LOT", "REV", "MADE IN", "TYPE", "MAX", "NO.", "PART", "OK", "TOP", "BATCH", "CLASS", "IN",
    "OUT", "MODEL", "SERIE", "FRAGILE", "KEEP DRY", "EXP", "NET", "QC PASS", "PUSH", "OPEN",
)  # fmt: skip


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def words(draw: Draw, length: int = 8) -> str:
    """A serial number, a word or a value such as are printed on parts."""
    letters = "".join(ascii_uppercase[i] for i in draw.integers(26, size=draw.integers(1, 4)))
    number = "".join(str(i) for i in draw.integers(10, size=draw.integers(2, 6)))
    word = _WORDS[draw.integers(len(_WORDS))]
    choices = (f"{letters}{number}", f"{letters}-{number}", f"{word} {number}", word, number)
    return choices[draw.integers(len(choices))][:length]


def text(height: float, string: str) -> Field:
    """One line of text with letters about `height` pixels high."""
    font = _font(max(6, round(height * 1.35)))
    left, top, right, bottom = font.getbbox(string)
    plane = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(plane).text((1 - left, 1 - top), string, fill=255, font=font)
    return np.asarray(plane, np.float32) / np.float32(255)


def paragraph(draw: Draw, height: int, width: int, size: float) -> Field:
    """Lines of text that fill a box."""
    result = np.zeros((height, width), np.float32)
    pitch = max(int(size * 1.6), 4)
    for top in range(0, height - int(size) - 1, pitch):
        string = " ".join(words(draw) for _ in range(1 + width // max(1, int(size * 5))))
        line = text(size, string)[: height - top, : int(width * draw.uniform(0.5, 1.0))]
        result[top : top + line.shape[0], : line.shape[1]] = line
    return result


def barcode(draw: Draw, height: int, width: int) -> Field:
    """Upright bars of a few widths."""
    module = max(1, width // int(draw.integers(30, 60)))
    bars = np.repeat(draw.random(width // module + 2) < 0.5, module)[:width]
    bars[:module] = bars[-module:] = True
    return np.repeat(bars[None].astype(np.float32), height, axis=0)


def matrix_code(draw: Draw, side: int) -> Field:
    """A square code with a solid rim on two sides."""
    count = int(draw.integers(9, 15))
    cells = (draw.random((count, count)) < 0.5).astype(np.float32)
    cells[:, 0] = cells[-1] = 1
    cells[0, 1:] = np.arange(count - 1) % 2
    plane = Image.fromarray(cells).resize((side, side), Image.Resampling.NEAREST)
    return np.asarray(plane, np.float32)


def logo(draw: Draw, side: float) -> Field:
    """A plain geometric mark: a ring, a star, an arrow, letters in a frame …"""
    y, x = shapes.sheet(side, side)
    r = side / 2
    kind = draw.integers(6)
    if kind == 0:
        alpha = shapes.line(shapes.disc(y, x, r * 0.85), r * 0.25)
        return np.maximum(alpha, shapes.solid(shapes.disc(y, x, r * 0.35)))
    if kind == 1:
        return shapes.solid(shapes.star(y, x, r, int(draw.integers(4, 8)), draw.uniform(0.3, 0.6)))
    if kind == 2:
        return shapes.solid(shapes.polygon(y, x, r * 0.6, int(draw.integers(3, 7)), 0.5))
    if kind == 3:  # an arrow
        head = np.maximum(np.abs(x) - (y + r) * 0.7, y)
        shaft = np.maximum(np.abs(x) - 0.25 * r, np.abs(y - 0.4 * r) - 0.6 * r)
        return shapes.solid(np.minimum(head, shaft))
    if kind == 4:
        return shapes.solid(shapes.cross(y, x, r * 0.9, r * draw.uniform(0.4, 0.8)))
    frame = shapes.line(shapes.box(y, x, side * 0.9, side * 0.9, side * 0.2), side * 0.08)
    letter = text(side * 0.5, ascii_uppercase[draw.integers(26)])
    top, left = (frame.shape[0] - letter.shape[0]) // 2, (frame.shape[1] - letter.shape[1]) // 2
    if top >= 0 and left >= 0:
        part = frame[top : top + letter.shape[0], left : left + letter.shape[1]]
        np.maximum(part, letter, out=part)
    return frame
