"""Conductor tracks: buses with bends, pads and planes, drawn so that nothing touches."""

import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from ..drawing.draw import Draw
from ..drawing.fields import mix, shade
from ..drawing.shapes import disc, solid
from ..drawing.surface import Field, Pattern, Surface

_OVER = 2  # drawn larger and reduced, for smooth edges

_Point = tuple[float, float]  # x, y
_Pad = tuple[float, float, float, int]  # x, y, half size, kind: ring, disc, square, oblong


def _bent(draw: Draw, start: _Point, step: float, count: int) -> list[_Point]:
    """Corners (x, y) of a line that turns by 45 degrees."""
    heading, points = int(draw.integers(8)), [start]
    for _ in range(count):
        long = step * draw.uniform(0.6, 3.5)
        (x, y), angle = points[-1], heading * math.pi / 4
        points.append((x + long * math.cos(angle), y + long * math.sin(angle)))
        heading += int(draw.choice([-1, 1]))
    return points


def _shifted(points: list[_Point], offset: float) -> list[_Point]:
    """A line parallel to another, the corners mitred."""
    corners = np.array(points)
    moves = np.diff(corners, axis=0)
    normals = np.stack([-moves[:, 1], moves[:, 0]], axis=1)
    normals /= np.linalg.norm(moves, axis=1, keepdims=True)
    joint = np.concatenate([normals[:1], normals[:-1] + normals[1:], normals[-1:]])
    joint /= np.maximum(0.6, (joint**2).sum(axis=1, keepdims=True) / 2)
    joint[0], joint[-1] = normals[0], normals[-1]
    return [(float(x), float(y)) for x, y in corners + offset * joint]


class _Film:
    """Two planes drawn on: copper areas, and over them tracks that keep clear of one another."""

    def __init__(self, height: int, width: int, gap: float) -> None:
        self.size, self.gap = (width * _OVER, height * _OVER), gap
        self.areas, self.tracks = Image.new("L", self.size), Image.new("L", self.size)

    def add(self, lines: list[list[_Point]], wide: float, pads: list[_Pad]) -> bool:
        """Draw lines of one width and pads, if they keep clear of what is there."""
        ends = [point for line in lines for point in line] + [pad[:2] for pad in pads]
        reach = self.gap + max(wide / 2, *(1.7 * pad[2] for pad in pads)) + 2
        left, top = (max(0, int(min(p[i] for p in ends) - reach)) for i in (0, 1))
        right, bottom = (min(self.size[i], int(max(p[i] for p in ends) + reach)) for i in (0, 1))
        # Most often a point is taken, which is quickly seen.
        if right - left < 2 or bottom - top < 2 or any(self._taken(point) for point in ends):
            return False

        def drawn(more: float) -> Image.Image:
            plane = Image.new("L", (right - left, bottom - top))
            pen = ImageDraw.Draw(plane)
            for line in lines:
                shifted = [(x - left, y - top) for x, y in line]
                pen.line(shifted, fill=255, width=round(wide + 2 * more), joint="curve")
            for x, y, size, kind in pads:
                x, y, r = x - left, y - top, size + more
                long = 1.7 * size + more if kind == 3 else r
                shape = pen.ellipse if kind < 2 else pen.rectangle
                shape((x - long, y - r, x + long, y + r), fill=255)
                if kind == 0 and not more:
                    hole = size * 0.45
                    pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
            return plane

        there, clear = self.tracks.crop((left, top, right, bottom)), drawn(self.gap)
        if ImageChops.multiply(clear, there).getbbox() is not None:
            return False
        self.areas.paste(0, (left, top), clear)
        self.tracks.paste(ImageChops.lighter(there, drawn(0.0)), (left, top))
        return True

    def _taken(self, point: tuple[float, ...]) -> bool:
        x, y = int(point[0]), int(point[1])
        inside = 0 <= x < self.size[0] and 0 <= y < self.size[1]
        return inside and self.tracks.getpixel((x, y)) != 0

    def free(self, draw: Draw) -> _Point:
        """A place (x, y), not on a track if one is quickly found."""
        for _ in range(6):
            place = draw.uniform(0, self.size[0]), draw.uniform(0, self.size[1])
            if not self._taken(place):
                break
        return place

    def cover(self) -> Field:
        """(H, W) in [0, 1]."""
        both = ImageChops.lighter(self.areas, self.tracks).reduce(_OVER)
        return np.asarray(both, np.float32) * np.float32(1 / 255)


def draw_tracks(draw: Draw, busy: float = 1.0) -> Field:
    """(H, W) cover of tracks, pads and planes."""
    unit = draw.unit * _OVER
    pitch = unit * math.exp(draw.uniform(math.log(0.03), math.log(0.25)))
    thick = max(1.5 * _OVER, pitch * draw.uniform(0.35, 0.6))
    film = _Film(draw.height, draw.width, max(1.5 * _OVER, pitch - thick))

    for _ in range(draw.integers(0, 3)):
        x, y = film.free(draw)
        w, h = draw.uniform(0.15, 0.9, 2) * unit
        cut = 0.2 * min(w, h)
        corners = [
            (x, y + cut), (x + cut, y), (x + w, y),
            (x + w, y + h - cut), (x + w - cut, y + h), (x, y + h),
        ]  # fmt: skip
        ImageDraw.Draw(film.areas).polygon(corners, fill=255)
    for _ in range(draw.integers(0, 4)):  # rows of pads
        x, y = film.free(draw)
        kind, size = int(draw.integers(4)), pitch * draw.uniform(0.4, 0.7)
        step = (size * (1.7 if kind == 3 else 1) * 2 + film.gap) * draw.uniform(1, 1.4)
        right, down = (0.0, step) if draw.chance(0.5) else (step, 0.0)
        count = int(draw.integers(3, 10))
        film.add([], 0, [(x + i * right, y + i * down, size, kind) for i in range(count)])
    area = draw.height * draw.width / draw.unit**2
    for _ in range(int(area * busy * min(90, 24 * (0.1 * unit / pitch) ** 1.3)) + 6):
        points = _bent(draw, film.free(draw), 2.5 * pitch, int(draw.integers(2, 7)))
        lanes = int(draw.integers(2, 8)) if draw.chance(0.4) else 1
        wide = thick * (draw.uniform(1.5, 3) if lanes == 1 and draw.chance(0.3) else 1)
        kind = int(draw.integers(3))
        size = 0.42 * pitch if lanes > 1 else pitch * draw.uniform(0.45, 0.8)
        while len(points) > 1:  # the longest stretch that has room
            paths = [_shifted(points, (i - (lanes - 1) / 2) * pitch) for i in range(lanes)]
            pads = [(*end, size, kind) for path in paths for end in (path[0], path[-1])]
            if film.add(paths, wide, pads):
                break
            points = points[: (len(points) + 1) // 2]
    return film.cover()


def board_colors(draw: Draw) -> tuple[Field, Field]:
    """(ground, ink): bare copper on resin, tracks under lacquer, an etching film …"""
    kind = draw.integers(4)
    if kind == 0:
        ground = draw.color((0.1, 0.18), (0.2, 0.5), (0.45, 0.8))
        return ground, draw.color((0.03, 0.1), (0.4, 0.75), (0.55, 0.9))
    if kind == 1:
        hue = (0.28, 0.45) if draw.chance(0.6) else (0.0, 1.0)
        ground = draw.color(hue, (0.4, 0.9), (0.12, 0.45))
        return ground, np.clip(ground + draw.uniform(0.08, 0.25, 3).astype(np.float32), 0, 1)
    dark, bright = draw.gray(0.0, 0.35), draw.gray(0.65, 1.0)
    return (dark, bright) if kind == 2 else (bright, dark)


def _etched(draw: Draw, cover: Field) -> Surface:
    """A pattern of two colors with the grain and clouds of both."""
    ground, ink = board_colors(draw)
    grain = 1 + draw.uniform(0, 0.04) * draw.fractal(draw.unit * 0.05, 4, 0.8)
    clouds = 1 + draw.uniform(0, 0.08) * draw.smooth(draw.unit * 0.3)
    under, over = shade(ground, grain), shade(ink, clouds)
    return Surface(mix(under, over, cover), pattern=Pattern(cover, over, under))


def bare_board(draw: Draw) -> Surface:
    """Etched tracks without any part on them."""
    return _etched(draw, draw_tracks(draw, 1.3))


def antenna(draw: Draw) -> Surface:
    """A flat coil: tracks in a spiral of round or square turns, with feed pads."""
    y, x = draw.shifted(draw.axes(), 0.3)
    square = np.maximum(np.abs(y), np.abs(x) * draw.uniform(0.7, 1.4))
    r = square if draw.chance(0.6) else np.hypot(y, x)
    pitch, share = draw.uniform(0.05, 0.13), draw.uniform(0.35, 0.6)
    inner, outer = draw.uniform(0.05, 0.2), draw.uniform(0.4, 0.9)
    turns = r / pitch - np.arctan2(y, x) / (2 * math.pi)
    near = (np.abs(turns % 1 - 0.5) - (share / 2)) * pitch
    first, last = math.ceil(inner / pitch), math.floor(outer / pitch)
    near = np.where((np.floor(turns) >= first) & (np.floor(turns) < last), near, pitch)
    if draw.chance(0.5):  # the pad in the middle
        near = np.minimum(near, disc(y, x, inner * 0.6))
    return _etched(draw, solid(near, draw.unit))


def comb_electrode(draw: Draw) -> Surface:
    """Two combs of tracks in each other, or a meander, from end to end."""
    v, u = draw.lying()
    pitch, share = np.float32(draw.uniform(0.05, 0.16)), draw.uniform(0.35, 0.6)
    lane = v / pitch + draw.random()
    number = np.floor(lane)
    finger = (np.abs(lane - number - 0.5) - (share / 2)) * pitch
    reach = float(np.abs(u).max()) * draw.uniform(0.5, 0.95)
    side = np.where(number % 2 == 0, 1, -1).astype(np.float32)
    finger = np.maximum(finger, side * u - (reach - 1.2 * pitch))
    spine = np.abs(np.abs(u) - reach) - (share / 2) * pitch
    near = np.minimum(np.maximum(finger, np.abs(u) - reach), spine)
    return _etched(draw, solid(near, draw.unit))
