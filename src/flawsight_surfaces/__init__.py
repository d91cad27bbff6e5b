"""Procedural surfaces: pairs of normal and defective images with exact masks and facts.

`pairs.render_pair` goes through the steps in order:

    families/         a perfect surface or part (family_table.py lists all)
    features/         what belongs on it or does no harm
    defects/          what is wrong with it
    drawing/          what the three draw with: Draw (noise, colors), shapes, stamps, Canvas;
                      geometry.py: the view; camera.py: light, optics, sensor, file
    defect_regions.py each defect strong enough to be seen, and its mask
    facts.py          what is then true of the image, in the words of words.py

`make_dataset.py` writes data sets in the layout of MVTec-AD.
"""

from .defects.defect_table import DEFECTS, TEST_DEFECTS, TRAIN_DEFECTS
from .families.family_table import (
    FAMILIES,
    TEST_FAMILIES,
    TRAIN_FAMILIES,
    VALIDATION_FAMILIES,
    family_named,
)
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
    "family_named",
    "render_pair",
]
