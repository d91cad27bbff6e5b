"""A pool of rendered pairs on disk, in several sizes and aspects, each pair turned one way.

Each part has its own seed, and one process renders it. Rerun the same command to render the parts
that are missing. PART.rgb holds the pixels of all images one after the other, normal and defective
in turn; PART.pkl holds their shapes and facts and is written last.
"""

import argparse
import os
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from build import MERGE_SIZE, PATCH_SIZE
from conversation import PLACES, Pair
from numpy.typing import NDArray
from PIL import Image

from flawsight_surfaces import SurfaceSample, render_pair

DEFECT_COUNTS = ([1, 2, 3, 4], [0.7, 0.2, 0.07, 0.03])  # how many, how often
CELL = PATCH_SIZE * MERGE_SIZE  # pixels; the sides of an image are multiples of it
# Rendered side / side in the pool, and how often: textures and optics vary in scale.
SCALES = ([1.0, 0.75, 1.3], [0.6, 0.25, 0.15])
_PHOTOS = ("*.jpg", "*.jpeg", "*.png")


def _becomes(order: tuple[int, ...]) -> dict[str | None, str | None]:
    return {place: PLACES[index] for place, index in zip(PLACES, order, strict=True)} | {None: None}


# What each place becomes when the image is mirrored left to right, mirrored top to bottom,
# or transposed.
_ACROSS = _becomes((2, 1, 0, 5, 4, 3, 8, 7, 6, 9, 10, 12, 11, 13, 14))
_DOWN = _becomes((6, 7, 8, 3, 4, 5, 0, 1, 2, 10, 9, 11, 12, 13, 14))
_TRANSPOSED = _becomes((0, 3, 6, 1, 4, 7, 2, 5, 8, 11, 12, 9, 10, 14, 13))


def draw_size(rng: np.random.Generator, areas: dict[int, float]) -> tuple[int, int]:
    """Draw (height, width) in pixels, half of them squares, the others of aspects 1:2 to 2:1.

    areas: the side of the square of about the same area → how often.
    """
    shares = np.array(list(areas.values()))
    side = int(rng.choice(list(areas), p=shares / shares.sum())) // CELL
    if rng.random() < 0.5:
        return side * CELL, side * CELL
    oblong = [
        (rows, columns)
        for rows in range(1, 2 * side)
        for columns in range(1, 2 * side)
        if rows != columns
        and max(rows, columns) <= 2 * min(rows, columns)
        and abs(rows * columns / side**2 - 1) < 0.1
    ]
    rows, columns = oblong[rng.integers(len(oblong))] if oblong else (side, side)
    return rows * CELL, columns * CELL


def draw_pair(rng: np.random.Generator, areas: dict[int, float], photo: Path | None = None) -> Pair:
    """Render a pair of a random size, scale and orientation, without masks."""
    size = draw_size(rng, areas)
    across, down, transposed = rng.random(3) < 0.5
    scale = rng.choice(SCALES[0], p=SCALES[1])
    height, width = (max(64, round(side * scale)) for side in size)
    pair = render_pair(
        rng,
        (width, height) if transposed else (height, width),
        difficulty=rng.uniform() ** 0.5,
        defects=int(rng.choice(DEFECT_COUNTS[0], p=DEFECT_COUNTS[1])),
        photo=None if photo is None else np.asarray(Image.open(photo).convert("RGB")),
    )
    normal, defective = (
        _resized(flipped(sample, across, down, transposed), size) for sample in pair
    )
    return normal, defective


def render_part(
    part: int, folder: Path, settings: dict[str, Any], photos: Sequence[Path] = ()
) -> None:
    """Write the images and facts of a part, unless they are there.

    settings: of the pool, see config.yaml; photos: files, of which a share of the pairs is made.
    """
    if (folder / f"{part}.pkl").exists():
        return
    rng = np.random.default_rng([77, part, 0])
    facts: list[tuple[tuple[int, ...], SurfaceSample]] = []
    with (folder / f"{part}.rgb").open("wb") as pixels:
        for _ in range(settings["pairs"]):
            photo = None
            if photos and rng.random() < settings["photo_share"]:
                photo = photos[int(rng.integers(len(photos)))]
            for sample in draw_pair(rng, settings["areas"], photo):
                pixels.write(sample.image.tobytes())
                none = np.zeros((0, 0, 3), np.uint8)
                facts.append((sample.image.shape, replace(sample, image=none)))
    unfinished = folder / f"{part}.pkl.part"
    unfinished.write_bytes(pickle.dumps(facts))
    os.replace(unfinished, folder / f"{part}.pkl")


class Pool:
    """The parts that `render_part` wrote to a folder, which are unpickled: trust the folder."""

    @staticmethod
    def parts(folder: Path) -> list[Path]:
        """Return the parts of a folder that are complete, in their order."""
        return sorted(folder.glob("[0-9]*.pkl"), key=lambda part: int(part.stem))

    @staticmethod
    def read(part: Path) -> Iterator[Pair]:
        """Yield the pairs of a part in their order: images (H, W, 3) of various sizes, and facts.

        Sides are multiples of `CELL`; the masks are empty.
        """
        pixels = np.memmap(part.with_suffix(".rgb"), np.uint8, "r")
        samples, start = [], 0
        for shape, facts in pickle.loads(part.read_bytes()):
            end = start + int(np.prod(shape))
            image = np.array(pixels[start:end]).reshape(shape)
            samples.append(replace(facts, image=image))
            start = end
        yield from zip(samples[::2], samples[1::2], strict=True)


def flipped(sample: SurfaceSample, across: bool, down: bool, transposed: bool) -> SurfaceSample:
    """Return the sample mirrored and transposed: pixels and names of places, but no masks."""
    image: NDArray[np.uint8] = sample.image
    renamings = []
    if across:
        image = image[:, ::-1]
        renamings.append(_ACROSS)
    if down:
        image = image[::-1]
        renamings.append(_DOWN)
    if transposed:
        image = image.swapaxes(0, 1)
        renamings.append(_TRANSPOSED)

    def now(place: str | None) -> str | None:
        for renaming in renamings:
            place = renaming[place]
        return place

    none = np.zeros((0, 0), np.bool_)
    return replace(
        sample,
        image=np.ascontiguousarray(image),
        gt_mask=none,
        features=tuple(replace(f, place=now(f.place), box=(0, 0, 0, 0)) for f in sample.features),
        defects=tuple(replace(d, place=str(now(d.place)), mask=none) for d in sample.defects),
    )


def _resized(sample: SurfaceSample, size: tuple[int, int]) -> SurfaceSample:
    if sample.image.shape[:2] == size:
        return sample
    image = Image.fromarray(sample.image).resize(size[::-1], Image.Resampling.BICUBIC)
    return replace(sample, image=np.asarray(image))


def find_photos(folder: Path) -> list[Path]:
    """Return the photos of a folder and the folders in it, in the order of their names."""
    return sorted(path for pattern in _PHOTOS for path in folder.rglob(pattern))


def main() -> None:
    """Render all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pool")
    parser.add_argument(
        "--photos", type=Path, help="folder of photos, used as surfaces and as backgrounds"
    )
    parser.add_argument("--processes", type=int, help="processes that render; default: one a core")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.yaml"))
    arguments = parser.parse_args()
    settings = yaml.safe_load(arguments.config.read_text())["pool"]
    photos = find_photos(arguments.photos) if arguments.photos else []
    if arguments.photos and not photos:
        parser.error(f"{arguments.photos} holds no .jpg or .png file; name a folder of photos.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    render = partial(render_part, folder=arguments.out, settings=settings, photos=photos)
    with ProcessPoolExecutor(arguments.processes) as workers:
        list(workers.map(render, range(settings["parts"])))


if __name__ == "__main__":
    main()
