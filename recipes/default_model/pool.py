"""A pool of rendered pairs on disk, each drawn many times, mirrored and transposed.

Rendering costs as much as training. Each part has its own seed; one process per core renders them.
Rerun the same command to render the parts that are missing.
"""

import argparse
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from conversation import PLACES, Pair
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from flawsight_surfaces import SurfaceSample, render_pair

DEFECT_COUNTS = ([1, 2, 3, 4], [0.7, 0.2, 0.07, 0.03])  # how many, how often


def _becomes(order: tuple[int, ...]) -> dict[str | None, str | None]:
    return {place: PLACES[index] for place, index in zip(PLACES, order, strict=True)} | {None: None}


# What each place becomes when the image is mirrored left to right, mirrored top to bottom,
# or transposed.
_ACROSS = _becomes((2, 1, 0, 5, 4, 3, 8, 7, 6, 9, 10, 12, 11, 13, 14))
_DOWN = _becomes((6, 7, 8, 3, 4, 5, 0, 1, 2, 10, 9, 11, 12, 13, 14))
_TRANSPOSED = _becomes((0, 3, 6, 1, 4, 7, 2, 5, 8, 11, 12, 9, 10, 14, 13))


def render_part(part: int, folder: Path, pairs: int, side: int) -> None:
    """Write `pairs` pairs of square images, normal and defective in turn, and their facts."""
    if (folder / f"{part}.npy").exists():
        return
    rng = np.random.default_rng([77, part, 0])
    unfinished = folder / f"unfinished_{part}.npy"
    images = open_memmap(unfinished, "w+", np.uint8, (2 * pairs, side, side, 3))
    facts: list[SurfaceSample] = []
    for index in range(pairs):
        count = int(rng.choice(DEFECT_COUNTS[0], p=DEFECT_COUNTS[1]))
        pair = render_pair(rng, (side, side), difficulty=rng.uniform() ** 0.5, defects=count)
        images[2 * index], images[2 * index + 1] = pair[0].image, pair[1].image
        facts += [_without_pixels(sample) for sample in pair]
    (folder / f"{part}.pkl").write_bytes(pickle.dumps(facts))
    images.flush()
    os.replace(unfinished, folder / f"{part}.npy")


class Pool:
    """The parts that `render_part` wrote to a folder, which are unpickled: trust the folder."""

    def __init__(self, folder: Path) -> None:
        parts = sorted(folder.glob("[0-9]*.npy"))
        self._images: list[NDArray[np.uint8]] = [np.load(part, mmap_mode="r") for part in parts]
        self._facts = [pickle.loads(part.with_suffix(".pkl").read_bytes()) for part in parts]

    def draw(self, rng: np.random.Generator, pairs: int) -> list[Pair]:
        """Draw pairs, both images of a pair mirrored and transposed alike."""
        return [self._draw(rng) for _ in range(pairs)]

    def _draw(self, rng: np.random.Generator) -> Pair:
        sizes = np.array([len(facts) // 2 for facts in self._facts])
        part = int(rng.choice(len(sizes), p=sizes / sizes.sum()))
        row = 2 * int(rng.integers(sizes[part]))
        across, down, transposed = rng.random(3) < 0.5
        normal, defective = (
            _flipped(facts, image, across, down, transposed)
            for facts, image in zip(
                self._facts[part][row : row + 2], self._images[part][row : row + 2], strict=True
            )
        )
        return normal, defective


def _without_pixels(sample: SurfaceSample) -> SurfaceSample:
    none = np.zeros((0, 0), np.bool_)
    return replace(
        sample,
        image=np.zeros((0, 0, 3), np.uint8),
        gt_mask=none,
        defects=tuple(replace(region, mask=none) for region in sample.defects),
    )


def _flipped(
    facts: SurfaceSample, image: NDArray[np.uint8], across: bool, down: bool, transposed: bool
) -> SurfaceSample:
    """Return the sample mirrored and transposed, pixels and names of places alike."""
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

    return replace(
        facts,
        image=image,
        features=tuple(replace(f, place=now(f.place)) for f in facts.features),
        defects=tuple(replace(d, place=str(now(d.place))) for d in facts.defects),
    )


def main() -> None:
    """Render all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pool")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.yaml"))
    arguments = parser.parse_args()
    settings = yaml.safe_load(arguments.config.read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    pairs, side = settings["pool"]["pairs"], settings["image_side"]
    render = partial(render_part, folder=arguments.out, pairs=pairs, side=side)
    with ProcessPoolExecutor() as workers:
        list(workers.map(render, range(settings["pool"]["parts"])))


if __name__ == "__main__":
    main()
