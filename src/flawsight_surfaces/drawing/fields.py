"""Arithmetic of fields (H, W) and colors (3,) or (H, W, 3), all float32."""

import math

import numpy as np

from .surface import Field, Floats, Way

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def smoothstep(low: float | np.floating, high: float | np.floating, field: Floats) -> Field:
    """0 below low, 1 above high, smooth between (low > high turns it round)."""
    t: Field = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def near(field: Floats, reach: float | np.floating) -> Field:
    """1 where a field is 0, such as on a line, down to 0 where it reaches a value."""
    return smoothstep(reach, 0, np.abs(field))


def band(field: Floats, half: float | np.floating, edge: float | np.floating) -> Field:
    """1 where a field is less than `half` away from 0, with a soft edge on either side."""
    return smoothstep(half + edge, half - edge, np.abs(field))


def bulge(t: Floats) -> Floats:
    """The height of a round bar across its width: t in -1..1, 0 beyond."""
    return np.asarray(np.sqrt(np.clip(1 - t * t, 0, 1)))


def bell(field: Floats, width: float) -> Floats:
    """A bell curve of a field: 1 where it is 0."""
    return np.asarray(np.exp(-((field / width) ** 2)))


def along(y: Floats, x: Floats, way: Way) -> Floats:
    """How far places lie in a direction, in the unit of y and x."""
    return np.asarray(y * way[0] + x * way[1])


def away(y: Floats, x: Floats, way: Way, at: float = 0.0) -> Floats:
    """How far places lie from the point that lies `at` in a direction."""
    return np.asarray(np.hypot(y - at * way[0], x - at * way[1]))


def brighten(image: Field, light: Floats) -> Field:
    """An image (h, w, 3) with light (h, w) added to all channels."""
    return np.asarray(image + light[..., None], np.float32)


def mix(first: Field, second: Field, amount: Field | float) -> Field:
    """first where amount is 0, second where it is 1.

    amount: (H, W) or one number; colors: (H, W, 3) or (3,).
    """
    if isinstance(amount, float):
        return np.asarray(first + (second - first) * np.float32(amount), np.float32)
    result = np.empty((*amount.shape, 3), np.float32)
    for c in range(3):  # whole planes: numpy is slow along a last axis of three
        result[..., c] = first[..., c] + (second[..., c] - first[..., c]) * amount
    return result


def shade(color: Field, light: Floats) -> Field:
    """A color (3,) or (H, W, 3) times a light field (H, W)."""
    light = light.astype(np.float32, copy=False)
    result = np.empty((*light.shape, 3), np.float32)
    for c in range(3):
        result[..., c] = color[..., c] * light
    return result


def lit(height: Floats, angle: float, strength: float) -> Field:
    """The light change of a relief (H, W) under a lamp at an angle."""
    gy, gx = np.zeros_like(height), np.zeros_like(height)
    gy[1:-1] = height[2:] - height[:-2]
    gx[:, 1:-1] = height[:, 2:] - height[:, :-2]
    gy[0], gy[-1], gx[:, 0], gx[:, -1] = gy[1], gy[-2], gx[:, 1], gx[:, -2]
    slope = np.float32(math.sin(angle)) * gy + np.float32(math.cos(angle)) * gx
    return np.asarray(np.float32(strength) * slope, np.float32)
