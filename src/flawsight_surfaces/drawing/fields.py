"""Arithmetic of fields (H, W) and colors (3,) or (H, W, 3), all float32."""

import math

import numpy as np

from .surface import Field, Floats


def smoothstep(low: float | np.floating, high: float | np.floating, field: Floats) -> Field:
    """0 below low, 1 above high, smooth between (low > high turns it round)."""
    t: Field = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


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
