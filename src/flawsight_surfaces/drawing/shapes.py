"""Plane shapes as signed distances, negative inside, on a sheet of pixels around its center."""

import math

import numpy as np

from .surface import Field, Floats


def sheet(height: float, width: float, margin: float = 2.0) -> tuple[Field, Field]:
    """y (h, w) and x (h, w) in pixels from the center of a sheet with room for a shape."""
    rows, columns = math.ceil(height + 2 * margin), math.ceil(width + 2 * margin)
    y = np.arange(rows, dtype=np.float32) - np.float32((rows - 1) / 2)
    x = np.arange(columns, dtype=np.float32) - np.float32((columns - 1) / 2)
    full_y, full_x = np.meshgrid(y, x, indexing="ij")
    return full_y, full_x


def round_sheet(size: float) -> tuple[Field, Field, Field]:
    """y, x and the distance from the center in radii (h, w each), for a disc of a diameter."""
    y, x = sheet(size, size, 4)
    return y, x, np.asarray(np.hypot(y, x) / (size / 2), np.float32)


def solid(distance: Floats, scale: float = 1.0) -> Field:
    """Alpha of a shape with an edge one pixel wide; scale: pixels in a unit of distance."""
    return np.asarray(np.clip(0.5 - distance * np.float32(scale), 0, 1), np.float32)


def line(distance: Floats, width: float, scale: float = 1.0) -> Field:
    """Alpha of an outline of a width in units of distance."""
    return solid(np.abs(distance) - np.float32(width / 2), scale)


def disc(y: Field, x: Field, radius: float) -> Field:
    """A circle."""
    return np.asarray(np.hypot(y, x) - np.float32(radius), np.float32)


def box(y: Field, x: Field, height: float, width: float, corner: float = 0.0) -> Field:
    """A rectangle of full height and width, its corners rounded by a radius."""
    corner = min(corner, height / 2, width / 2)
    dy = np.abs(y) - np.float32(height / 2 - corner)
    dx = np.abs(x) - np.float32(width / 2 - corner)
    outside: Field = np.hypot(np.maximum(dy, 0), np.maximum(dx, 0))
    inside: Field = np.minimum(np.maximum(dy, dx), 0)
    return np.asarray(outside + inside - np.float32(corner), np.float32)


def polygon(y: Field, x: Field, radius: float, corners: int, turn: float = 0.0) -> Field:
    """A regular polygon; radius is that of the circle inside it."""
    sector = 2 * math.pi / corners
    phi = (np.arctan2(y, x) + np.float32(turn)) % sector - sector / 2
    return np.asarray((np.hypot(y, x) * np.cos(phi) - radius), np.float32)


def holes(r: Floats, phi: Floats, at: float, count: int, radius: float) -> Field:
    """Round holes evenly on a circle; r, phi: polar coordinates."""
    sector = 2 * math.pi / count
    phi = phi % sector - sector / 2
    return np.asarray(np.hypot(r * np.sin(phi), r * np.cos(phi) - at) - radius, np.float32)


def gear(y: Field, x: Field, radius: float, teeth: int, depth: float, turn: float) -> Field:
    """A toothed wheel; depth of the teeth as a share of the radius."""
    phi = np.arctan2(y, x) + np.float32(turn)
    tooth = np.clip(1.8 * np.sin(phi * teeth), -1, 1)
    reach = np.float32(radius) * (1 + np.float32(depth / 2) * tooth)
    return np.asarray((np.hypot(y, x) - reach), np.float32)


def star(y: Field, x: Field, radius: float, points: int, depth: float) -> Field:
    """A star or flower with soft points."""
    phi = np.arctan2(y, x)
    reach = 1 - np.float32(depth) * (0.5 - 0.5 * np.cos(phi * points))
    return np.asarray(np.hypot(y, x) - np.float32(radius) * reach, np.float32)


def cross(y: Field, x: Field, radius: float, width: float) -> Field:
    """A plus sign."""
    upright = np.maximum(np.abs(y) - radius, np.abs(x) - width / 2)
    level = np.maximum(np.abs(x) - radius, np.abs(y) - width / 2)
    return np.asarray(np.minimum(upright, level), np.float32)
