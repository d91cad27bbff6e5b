"""References of colours instead of features: to learn, and to inspect with, without a model."""

import io
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from flawsight.errors import FlawsightError
from flawsight.inspection import GoodPlace, Inspection, Region
from flawsight.io.images import Photo, prepare_image
from flawsight.reference.memory import Reference
from flawsight.serve.references import References, load_references
from helpers.serving import stand_in

SIDE = 4


def part(seed: int, brightness: int = 100, width: int = 24) -> Image.Image:
    """A noisy grey photo; parts of another brightness lie far away."""
    pixels = np.random.default_rng(seed).integers(brightness, brightness + 20, (20, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def vectors_of(image: Image.Image) -> torch.Tensor:
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    return torch.from_numpy(pixels / 255)


def learn(
    known: Reference | None,
    photos: Sequence[tuple[str, Image.Image]],
    forget: Collection[str] = (),
) -> Reference:
    kept = [one for one in (known.photos if known else ()) if one.name not in forget]
    old = [(one.name, Image.open(io.BytesIO(one.picture)).convert("RGB")) for one in kept]
    names, images = zip(*old, *photos, strict=True)
    return Reference.of(
        names, [*map(png, images)], [*map(vectors_of, images)], blocks=(1,),
        settings={"image_tokens": SIDE}, model_sha256="a" * 64,
    )  # fmt: skip


class Inspecting:
    """Stands in for an Inspector with a reference; notes the sizes of its batches."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.threshold = reference.threshold()
        self.batches: list[int] = []

    def inspect_batch(
        self, images: Sequence[Image.Image | Photo]
    ) -> list[Inspection | FlawsightError]:
        self.batches.append(len(images))
        read = [one.image if isinstance(one, Photo) else prepare_image(one) for one in images]
        return [self.inspect(image) for image in read]

    def inspect(self, image: Image.Image) -> Inspection:
        distances, _ = self.reference.compare(vectors_of(image))
        score = self.reference.score(distances * max(self.reference.usual, 1e-30))
        height, width = image.height, image.width
        place = GoodPlace(self.reference.photos[0].name, (2, 2, 12, 10))
        region = Region(
            (height, width), (0, 0, width, height), width * height, 0.25, (0, width * height),
            good=place,
        )  # fmt: skip
        return replace(
            stand_in(image), pred_score=score, pred_label=score > self.threshold, answer=None,
            explanation="", tokens=(), disagreements=(), evidence={"reference": score},
            regions=(region,), token_maps=np.zeros((0, 2, 3), np.float32),
        )  # fmt: skip


def write_reference(path: Path, brightness: int = 100, count: int = 4) -> Reference:
    photos = [(f"line/{index}.png", part(index, brightness)) for index in range(count)]
    reference = learn(None, photos)
    reference.save(path)
    return reference


def references_of(
    learning: Any = learn, calibrated: Collection[str] = (), **files: Path
) -> References:
    """The references of files by product; each change makes a new `Inspecting`."""
    return References(
        load_references(files), learning, lambda name, one: Inspecting(one), calibrated
    )
