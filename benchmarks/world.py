"""Draw every family of procedural surfaces on one page: docs/world.jpg.

    python benchmarks/world.py --page docs/world.jpg

Each family's normal image stands next to its defective twin, with the defects outlined. The page is
the same for the same seed.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from flawsight.data.surfaces import FAMILIES, TEST_FAMILIES, render_twins

LINE = 13


def outlined(image: NDArray[np.uint8], gt_mask: NDArray[np.bool_]) -> Image.Image:
    """The image with a magenta line round each defect."""
    mask = Image.fromarray(gt_mask).convert("L")
    rim = np.asarray(mask.filter(ImageFilter.MaxFilter(7))) > 0
    rim &= np.asarray(mask.filter(ImageFilter.MaxFilter(5))) == 0
    pixels = image.copy()
    pixels[rim] = (255, 0, 255)
    return Image.fromarray(pixels)


def page(seed: int, cell: int, columns: int) -> Image.Image:
    """Draw a sheet with one pair of images per family."""
    rows = -(-len(FAMILIES) // columns)
    sheet = Image.new("RGB", (columns * (2 * cell + 8), rows * (cell + LINE + 4)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, family in enumerate(FAMILIES):
        rng = np.random.default_rng([seed, number])
        size = (round(cell * 1.6), round(cell * 1.6))
        normal, defective = render_twins(rng, size, family=family, defects=1 + number % 2)
        x, y = number % columns * (2 * cell + 8), number // columns * (cell + LINE + 4)
        images = (Image.fromarray(normal.image), outlined(defective.image, defective.gt_mask))
        for i, image in enumerate(images):
            small = image.resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(small, (x + i * (cell + 1), y + LINE))
        star = " *" if family in TEST_FAMILIES else ""
        kinds = " + ".join(region.kind for region in defective.defects)
        pen.text((x, y), f"{family}{star}: {kinds}"[: cell // 3], fill="black")
    return sheet


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cell", type=int, default=118, help="side of an image in pixels")
    parser.add_argument("--columns", type=int, default=6)
    options = parser.parse_args()
    page(options.seed, options.cell, options.columns).save(options.page, quality=70)


if __name__ == "__main__":
    main()
