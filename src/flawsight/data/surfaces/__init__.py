"""Procedural surfaces: endless pairs of normal and defective images with exact masks."""

from .defects import DEFECTS
from .families import FAMILIES, TEST_FAMILIES, TRAIN_FAMILIES, VALIDATION_FAMILIES
from .render import render_twins
from .sample import SurfaceSample

__all__ = [
    "DEFECTS",
    "FAMILIES",
    "TEST_FAMILIES",
    "TRAIN_FAMILIES",
    "VALIDATION_FAMILIES",
    "SurfaceSample",
    "render_twins",
]
