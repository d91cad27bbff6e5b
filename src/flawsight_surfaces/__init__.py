"""Procedural surfaces: endless pairs of normal and defective images with exact masks.

An image is made in this order, and `render.py` reads so:

    families.py   the perfect surface or parts: textures, patterned, coverings, machined, mechanics,
                  parts, sets, boards, tracks, cables, goods, food; with noise, shapes, layout,
                  components, lettering; plates, backdrop: what they lie on
    features.py   what belongs there or does no harm: hardware, marks
    defects.py    what does not: defects_linear, _areal, _items, _shape, _foreign, on a canvas
    geometry.py   where the camera stands
    camera.py     light, optics, sensor, file
    facts.py      what is then true of the image, in the words of words.py
"""

from .defects.defect_table import DEFECTS, TEST_DEFECTS, TRAIN_DEFECTS
from .families.family_table import FAMILIES, TEST_FAMILIES, TRAIN_FAMILIES, VALIDATION_FAMILIES
from .pairs import render_pair
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
    "render_pair",
]
