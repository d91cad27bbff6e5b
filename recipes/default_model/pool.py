"""A pool of rendered twins on disk, each drawn many times, mirrored and turned.

    python recipes/default_model/pool.py --out POOL --part 0 --pairs 4000

Rendering costs as much as training. Parts have seeds of their own and can be rendered side by side.
"""

import argparse
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
from conversation import PLACES, Twins
from numpy.typing import NDArray

from flawsight.data.surfaces import SurfaceSample, render_twins

DEFECT_COUNTS = ([1, 2, 3, 4], [0.7, 0.2, 0.07, 0.03])  # how many, how often


def _becomes(order: tuple[int, ...]) -> dict[str | None, str | None]:
    return {place: PLACES[index] for place, index in zip(PLACES, order, strict=True)} | {None: None}


# What each place becomes when the image is mirrored left to right, top to bottom, or in its main
# diagonal.
_ACROSS = _becomes((2, 1, 0, 5, 4, 3, 8, 7, 6, 9, 10, 12, 11, 13, 14))
_DOWN = _becomes((6, 7, 8, 3, 4, 5, 0, 1, 2, 10, 9, 11, 12, 13, 14))
_TURN = _becomes((0, 3, 6, 1, 4, 7, 2, 5, 8, 11, 12, 9, 10, 14, 13))


def render_part(folder: Path, part: int, pairs: int, side: int) -> None:
    """Write `pairs` twins of square images, normal and defective in turn, and their facts."""
    rng = np.random.default_rng([77, part, 0])
    images = np.empty((2 * pairs, side, side, 3), np.uint8)
    facts: list[SurfaceSample] = []
    for index in range(pairs):
        count = int(rng.choice(DEFECT_COUNTS[0], p=DEFECT_COUNTS[1]))
        twins = render_twins(rng, (side, side), difficulty=rng.uniform() ** 0.5, defects=count)
        images[2 * index], images[2 * index + 1] = twins[0].image, twins[1].image
        facts += [_without_pixels(sample) for sample in twins]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.pkl").write_bytes(pickle.dumps(facts))
    np.save(folder / f"{part}.npy", images)


class Pool:
    """All parts of a folder that `render_part` wrote; unpickles it, so trust it."""

    def __init__(self, folder: Path) -> None:
        parts = sorted(folder.glob("*.npy"))
        self._images: list[NDArray[np.uint8]] = [np.load(part, mmap_mode="r") for part in parts]
        self._facts = [pickle.loads(part.with_suffix(".pkl").read_bytes()) for part in parts]

    def draw(self, rng: np.random.Generator, pairs: int) -> list[Twins]:
        """Draw twins, both mirrored and turned alike."""
        return [self._draw(rng) for _ in range(pairs)]

    def _draw(self, rng: np.random.Generator) -> Twins:
        sizes = np.array([len(facts) // 2 for facts in self._facts])
        part = int(rng.choice(len(sizes), p=sizes / sizes.sum()))
        row = 2 * int(rng.integers(sizes[part]))
        across, down, turn = rng.random(3) < 0.5
        normal, defective = (
            _turned(facts, image, across, down, turn)
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


def _turned(
    facts: SurfaceSample, image: NDArray[np.uint8], across: bool, down: bool, turn: bool
) -> SurfaceSample:
    """Return the sample with its pixels, mirrored and turned, and with the places that are then."""
    renamings = []
    if across:
        image = image[:, ::-1]
        renamings.append(_ACROSS)
    if down:
        image = image[::-1]
        renamings.append(_DOWN)
    if turn:
        image = image.swapaxes(0, 1)
        renamings.append(_TURN)

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", type=int, required=True)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--side", type=int, default=240)
    arguments = parser.parse_args()
    render_part(arguments.out, arguments.part, arguments.pairs, arguments.side)
