"""Draw the pictures of docs/: every family of surfaces, and maps next to defective images.

    python benchmarks/pictures.py world docs/world.jpg
    python benchmarks/pictures.py overlays docs/overlays.jpg --data DATA --runs RUN …

`world`: each family's normal image next to its defective twin, always the same. `overlays`: DATA is
a data set's folder in the output of `flawsight bench`, and each RUN a run folder in it; images are
taken at even steps through the list of the defective ones. Defects are outlined.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pages import parser_of
from PIL import Image, ImageDraw, ImageFilter

from flawsight.io.overlay import draw_overlay
from flawsight_surfaces import FAMILIES, TEST_FAMILIES, render_pair

LINE, GAP = 13, 8
Captioned = tuple[str, list[Image.Image]]


def outlined(image: NDArray[np.uint8], gt_mask: NDArray[np.bool_]) -> Image.Image:
    """Draw a magenta line around each defect."""
    mask = Image.fromarray(gt_mask).convert("L")
    rim = np.asarray(mask.filter(ImageFilter.MaxFilter(7))) > 0
    rim &= np.asarray(mask.filter(ImageFilter.MaxFilter(5))) == 0
    pixels = image.copy()
    pixels[rim] = (255, 0, 255)
    return Image.fromarray(pixels)


def surfaces(cell: int) -> Iterator[Captioned]:
    """Yield a pair of images per family; a star marks the test families."""
    for number, family in enumerate(FAMILIES):
        rng = np.random.default_rng([0, number])
        size = (round(cell * 1.6), round(cell * 1.6))
        normal, defective = render_pair(rng, size, family=family, defects=1 + number % 2)
        star = " *" if family in TEST_FAMILIES else ""
        kinds = " + ".join(region.kind for region in defective.defects)
        outline = outlined(defective.image, defective.gt_mask)
        yield f"{family}{star}: {kinds}", [Image.fromarray(normal.image), outline]


def overlays(data: Path, runs: Sequence[str], images: int) -> Iterator[Captioned]:
    """Yield defective images with the map of each run."""
    truth = [json.loads(line) for line in (data / "truth.jsonl").read_text().splitlines()]
    defective = [one for one in truth if one.get("label") == 1 and one.get("mask")]
    maps: list[dict[str, Path]] = []
    for run in runs:
        rows = map(json.loads, (data / run / "inspections.jsonl").read_text().splitlines())
        maps.append({row["image"]: data / run / row["anomaly_map"] for row in rows})
    for one in (defective[i * len(defective) // images] for i in range(images)):
        photo = Image.open(one["image"]).convert("RGB")
        pictures = [outlined(np.asarray(photo), np.asarray(Image.open(one["mask"])) > 0)]
        for own in maps:
            anomaly_map = np.load(own[one["image"]])["anomaly_map"].astype(np.float32)
            pictures.append(draw_overlay(photo, anomaly_map))
        yield f"{one['category']}: {one['class_name'].replace('_', ' ')}", pictures


def sheet(captioned: Sequence[Captioned], cell: int, columns: int) -> Image.Image:
    """Lay images out in rows, each scaled to fit into a square cell."""
    wide = max(len(pictures) for _, pictures in captioned) * (cell + 1) + GAP
    page = Image.new(
        "RGB", (columns * wide, -(-len(captioned) // columns) * (cell + LINE + 4)), "white"
    )
    pen = ImageDraw.Draw(page)
    for number, (caption, pictures) in enumerate(captioned):
        x, y = number % columns * wide, number // columns * (cell + LINE + 4)
        pen.text((x, y), caption[: wide // 6], fill="black")
        for place, picture in enumerate(pictures):
            picture.thumbnail((cell, cell), Image.Resampling.LANCZOS)
            page.paste(picture, (x + place * (cell + 1), y + LINE))
    return page


def main() -> None:
    """Write the picture."""
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=["world", "overlays"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", nargs="+", default=[])
    parser.add_argument("--images", type=int, default=21)
    options = parser.parse_args()
    if options.what == "world":
        page = sheet(list(surfaces(118)), 118, columns=6)
    else:
        page = sheet(list(overlays(options.data, options.runs, options.images)), 150, columns=3)
    page.save(options.out, quality=80)


if __name__ == "__main__":
    main()
