"""Reports and pictures of the sample photos, for the gallery."""

import io
import tempfile
from pathlib import Path

import numpy as np
from equations import SAMPLES, inspector, learned
from PIL import Image

from flawsight import Inspections
from flawsight.batches import ImageLike
from flawsight_surfaces import render_pair

# Families shown, each a good and a defective image of this side in pixels.
SHOWN = (
    "leather",
    "milled face",
    "wooden",
    "woven fabric",
    "capsule",
    "hex nut",
    "carton",
    "cracker",
)
SIDE = 150


def gallery_files() -> dict[str, bytes]:
    """Return what the page shows, by file name."""
    samples: list[ImageLike] = [*sorted(SAMPLES.glob("*.jpg"))]
    inspections = inspector("default")(samples)
    _, new, _ = learned()
    return {
        "samples.html": report(inspections),
        "good-photos.html": report(Inspections(new.values())),
        "surfaces.jpg": surfaces(),
    }


def report(inspections: Inspections) -> bytes:
    """Return the report's page, which needs nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        return inspections.save(Path(folder) / "report.html").read_bytes()


def surfaces() -> bytes:
    """Return rendered pairs side by side, a good image above a defective one, as JPEG."""
    page = Image.new("RGB", (len(SHOWN) * (SIDE + 2), 2 * (SIDE + 2)), "white")
    for column, family in enumerate(SHOWN):
        rng = np.random.default_rng([0, column])
        for row, one in enumerate(render_pair(rng, (SIDE, SIDE), family=family, difficulty=0.3)):
            page.paste(Image.fromarray(one.image), (column * (SIDE + 2), row * (SIDE + 2)))
    content = io.BytesIO()
    page.save(content, "JPEG", quality=85)
    return content.getvalue()
