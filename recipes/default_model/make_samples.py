"""Render samples/: four surfaces of test families, each without and with a defect.

    python recipes/default_model/make_samples.py

The seed was fixed before any model was run on them; no image was selected by its result.
samples/learn has photos of one milled face, place by place: good ones to learn from, and new ones.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from flawsight_surfaces import TEST_FAMILIES, render_pair

SAMPLES = Path(__file__).parents[2] / "samples"
SIZES = [(384, 384), (320, 480), (512, 288), (384, 384)]

# Of samples/learn: the left and upper sides of photos, in pixels of one large surface.
SIDE = 256
GOOD = [(0, 0), (256, 0), (512, 0), (768, 0), (256, 256), (512, 256)]
NEW = {"good": (768, 256), "gouge": (50, 520), "scratch": (640, 660)}


def main() -> None:
    """Write the JPEG files."""
    rng = np.random.default_rng(20261123)
    SAMPLES.mkdir(exist_ok=True)
    for family, size in zip(rng.permutation(TEST_FAMILIES), SIZES, strict=False):
        for sample in render_pair(rng, size, family=str(family), difficulty=0.5):
            kind = (sample.defect or "good").replace(" ", "-")
            name = f"{family}-{kind}.jpg".replace(" ", "-")
            Image.fromarray(sample.image).save(SAMPLES / name, quality=92)
    write_places(SAMPLES / "learn")


def write_places(folder: Path) -> None:
    """Write photos of places of one surface: good/, and new/ of which two have a defect."""
    surfaces = render_pair(
        np.random.default_rng(20261130), (1024, 1024), family="milled face", difficulty=0.5,
        defects=4, features=0,
    )  # fmt: skip
    good, defective = (Image.fromarray(sample.image) for sample in surfaces)
    places = {f"good/{index}": place for index, place in enumerate(GOOD, start=1)}
    places |= {f"new/{name}": place for name, place in NEW.items()}
    for name, (left, top) in places.items():
        path = folder / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        surface = defective if name in ("new/gouge", "new/scratch") else good
        surface.crop((left, top, left + SIDE, top + SIDE)).save(path, quality=92)


if __name__ == "__main__":
    main()
