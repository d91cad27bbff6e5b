"""Procedural surfaces: endless pairs of normal and defective images with exact masks."""

from .defects import DEFECTS, TEST_DEFECTS, TRAIN_DEFECTS
from .families import FAMILIES, TEST_FAMILIES, TRAIN_FAMILIES, VALIDATION_FAMILIES
from .render import render_twins
from .sample import DefectRegion, Feature, SurfaceSample

__all__ = [
    "DEFECTS",
    "FAMILIES",
    "TEST_DEFECTS",
    "TEST_FAMILIES",
    "TRAIN_DEFECTS",
    "TRAIN_FAMILIES",
    "VALIDATION_FAMILIES",
    "DefectRegion",
    "Feature",
    "SurfaceSample",
    "render_twins",
]
