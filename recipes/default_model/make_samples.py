"""Render samples/: four surfaces of test families, each without and with a defect.

    python recipes/default_model/make_samples.py

The seed was fixed before any model was run on them; no image was selected by its result.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from flawsight_surfaces import TEST_FAMILIES, render_pair

SAMPLES = Path(__file__).parents[2] / "samples"
SIZES = [(384, 384), (320, 480), (512, 288), (384, 384)]


def main() -> None:
    """Write the JPEG files."""
    rng = np.random.default_rng(20261123)
    SAMPLES.mkdir(exist_ok=True)
    for family, size in zip(rng.permutation(TEST_FAMILIES), SIZES, strict=False):
        for sample in render_pair(rng, size, family=str(family), difficulty=0.5):
            kind = (sample.defect or "good").replace(" ", "-")
            name = f"{family}-{kind}.jpg".replace(" ", "-")
            Image.fromarray(sample.image).save(SAMPLES / name, quality=92)


if __name__ == "__main__":
    main()
