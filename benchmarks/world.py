"""How fast the procedural surfaces are drawn, and a page that shows every family.

    python benchmarks/world.py --page docs/world.jpg

Prints images a second on one core. The page has each family's normal image beside its twin, the
defects outlined; it is the same for the same seed.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from flawsight_surfaces import DEFECTS, FAMILIES, TEST_FAMILIES, render_pair

SIZES = [(240, 240), (200, 260), (150, 190), (240, 120)]
_CELL, _LINE = 118, 13


def speed(seed: int, rounds: int) -> float:
    """Images a second of processor time over all families, at full difficulty."""
    rng = np.random.default_rng(seed)
    start, images = time.process_time(), 0
    for number in range(rounds):
        for family in FAMILIES:
            size = SIZES[(number + images // 2) % len(SIZES)]
            render_pair(rng, size, family=family, defects=1 + number % 3)
            images += 2
    return images / (time.process_time() - start)


def outlined(image: NDArray[np.uint8], gt_mask: NDArray[np.bool_]) -> Image.Image:
    """The image with a magenta line round each defect."""
    mask = Image.fromarray(gt_mask).convert("L")
    rim = np.asarray(mask.filter(ImageFilter.MaxFilter(7))) > 0
    rim &= np.asarray(mask.filter(ImageFilter.MaxFilter(5))) == 0
    pixels = image.copy()
    pixels[rim] = (255, 0, 255)
    return Image.fromarray(pixels)


def page(
    seed: int, cell: int, columns: int, names: Sequence[tuple[str, str | None]]
) -> Image.Image:
    """A sheet of twins: one cell a (family, defect), the defect None for a drawn one."""
    rows = -(-len(names) // columns)
    picture = Image.new("RGB", (columns * (2 * cell + 8), rows * (cell + _LINE + 4)), "white")
    pen = ImageDraw.Draw(picture)
    for number, (family, defect) in enumerate(names):
        rng = np.random.default_rng([seed, number])
        size = (round(cell * 1.6), round(cell * 1.6))
        twins = render_pair(rng, size, family=family, defect=defect, defects=1 + number % 2)
        x, y = number % columns * (2 * cell + 8), number // columns * (cell + _LINE + 4)
        for i, image in enumerate(
            (Image.fromarray(twins[0].image), outlined(twins[1].image, twins[1].gt_mask))
        ):
            small = image.resize((cell, cell), Image.Resampling.LANCZOS)
            picture.paste(small, (x + i * (cell + 1), y + _LINE))
        star = " *" if family in TEST_FAMILIES else ""
        kinds = " + ".join(region.kind for region in twins[1].defects)
        pen.text((x, y), f"{family}{star}: {kinds}"[: cell // 3], fill="black")
    return picture


def main() -> None:
    """Measure, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--kinds", action="store_true", help="a cell a defect, not a family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cell", type=int, default=_CELL)
    parser.add_argument("--columns", type=int, default=6)
    options = parser.parse_args()
    if options.page:
        names: list[tuple[str, str | None]] = [(family, None) for family in FAMILIES]
        if options.kinds:
            rng = np.random.default_rng(options.seed)
            names = []
            for kind, defect in DEFECTS.items():
                fitting = [n for n, f in FAMILIES.items() if f.material in defect.materials]
                names += [(str(name), kind) for name in rng.choice(fitting, 3)]
        sheet = page(options.seed, options.cell, options.columns, names)
        options.page.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(options.page, quality=70)
    if options.rounds:
        print(f"{speed(options.seed, options.rounds):.0f} images/s a core")


if __name__ == "__main__":
    main()
