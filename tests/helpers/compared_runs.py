"""Inspections with a reference, made without a model: photos whose patches are known vectors.

The reference has two photos. Every place of the part has a vector of its own, so the nearest good
patch of a place is that place. A test photo shows the part one patch further right, and maybe a
defect, which is like no good patch.
"""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flawsight.inspection import Inspection, PatchEvidence, Trace
from flawsight.localize import localize
from flawsight.reference.good_places import GoodPatches
from flawsight.reference.memory import Reference
from flawsight.runs.folder import RunFolder
from flawsight.runs.good_photos import save_pictures
from flawsight.settings import PRESETS
from helpers.traces import RESPONSE, make_trace

PATCHES = (12, 16)
PICTURE = (96, 128)  # of the reference: 8 pixels a patch
SIZE = (60, 80)  # of the test photos: 5 pixels a patch
NAMES = ("../line 3/été.png", "b.png")
DEFECT = (4, 10)  # row and column of its first patch; it has 2 × 2
THRESHOLD = 0.5
SETTINGS = replace(PRESETS["paper"], region_threshold=0.3, region_peak=0.4)
ABOUT = {"model": {"name": "made up", "sha256": "0" * 64}, "threshold": THRESHOLD,
         "settings": SETTINGS.to_json()}  # fmt: skip


def vectors(seed: int) -> Tensor:
    """(12, 16, 8) of a good photo: of each place, and a little of the photo."""
    of_places = torch.randn(*PATCHES, 8, generator=torch.Generator().manual_seed(0))
    of_photo = torch.randn(*PATCHES, 8, generator=torch.Generator().manual_seed(seed))
    return of_places + 0.05 * of_photo


def picture(seed: int, size: tuple[int, int] = PICTURE) -> Image.Image:
    """Return a picture whose red and green tell x and y: 0 at the left and top, 255 at the end."""
    height, width = size
    y, x = (np.indices(size) + 0.5) / np.array([height, width])[:, None, None]
    pixels = np.stack([255 * x, 255 * y, np.full(size, 10.0 * seed)], axis=-1)
    return Image.fromarray(pixels.round().astype(np.uint8))


def reference() -> Reference:
    contents = []
    for seed in (1, 2):
        content = io.BytesIO()
        picture(seed).save(content, "PNG")
        contents.append(content.getvalue())
    return Reference.of(
        NAMES, contents, [vectors(1), vectors(2)],
        blocks=(1,), settings={"image_tokens": 225}, model_sha256="0" * 64,
    )  # fmt: skip


def patches_of(known: Reference, defective: bool, photo: int = 2) -> PatchEvidence:
    """The part as in a photo of the reference, one patch further right."""
    seen = vectors(photo).roll(1, dims=1)
    if defective:
        row, column = DEFECT
        seen[row : row + 2, column : column + 2] += 20
    return PatchEvidence(None, *known.compare(seen))


def inspected(known: Reference, defective: bool, asked: bool, **options: Any) -> Inspection:
    trace = make_trace(RESPONSE, grid=(6, 8))
    if not asked:
        trace = Trace(
            "", (), torch.zeros(0, 6, 8), torch.zeros(0, 5), trace.anomaly_tokens, 0.0, asked=False
        )
    trace = replace(trace, patches=patches_of(known, defective))
    given: dict[str, Any] = {"threshold": THRESHOLD, "good": GoodPatches.of(known)} | options
    return localize(trace, SIZE, SETTINGS, **given)


def make_compared_run(folder: Path, photos: Path) -> list[Path]:
    """Write a run of three photos, defective or not, asked about or not, and return their paths."""
    known = reference()
    pictures = [vars(one) | {"size": list(one.size)} for one in GoodPatches.of(known).pictures]
    run = RunFolder(folder, ABOUT | {"good_pictures": pictures})
    save_pictures(folder, known)
    photos.mkdir(exist_ok=True)
    paths = []
    for index, (defective, asked) in enumerate([(True, True), (True, False), (False, False)]):
        path = photos / f"{index}.png"
        picture(10 + index, SIZE).save(path)
        inspection = inspected(known, defective, asked, image=str(path))
        run.add(inspection, picture(10 + index, SIZE))
        paths.append(path)
    return paths
