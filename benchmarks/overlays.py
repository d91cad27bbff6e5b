"""Draw defective images next to their maps from several runs: docs/overlays.jpg.

    python benchmarks/overlays.py DATA RUN … --out docs/overlays.jpg

DATA is a data set's folder in the output of `flawsight bench`, and each RUN a run folder in it. The
images are taken at even steps through the list of the defective ones.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from world import outlined

from flawsight.io.overlay import draw_overlay

CELL, LINE, GAP = 150, 14, 10


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    truth = [json.loads(line) for line in (arguments.data / "truth.jsonl").read_text().splitlines()]
    defective = [one for one in truth if one.get("label") == 1 and one.get("mask")]
    taken = [defective[i * len(defective) // arguments.images] for i in range(arguments.images)]
    maps: list[dict[str, Path]] = []
    for run in arguments.runs:
        folder = arguments.data / run
        rows = map(json.loads, (folder / "inspections.jsonl").read_text().splitlines())
        maps.append({row["image"]: folder / row["anomaly_map"] for row in rows})
    wide = (1 + len(maps)) * (CELL + 2)
    lines = -(-len(taken) // arguments.columns)
    page = Image.new("RGB", (arguments.columns * (wide + GAP), lines * (CELL + LINE + 4)), "white")
    pen = ImageDraw.Draw(page)
    for number, one in enumerate(taken):
        x = number % arguments.columns * (wide + GAP)
        y = number // arguments.columns * (CELL + LINE + 4)
        pen.text((x, y), f"{one['category']}: {one['class_name'].replace('_', ' ')}", fill="black")
        photo = Image.open(one["image"]).convert("RGB")
        mask = Image.open(one["mask"]).convert("L")
        pictures = [outlined(np.asarray(photo), np.asarray(mask) > 0)]
        for own in maps:
            anomaly_map = np.load(own[one["image"]])["anomaly_map"].astype(np.float32)
            pictures.append(draw_overlay(photo, anomaly_map))
        for place, picture in enumerate(pictures):
            picture.thumbnail((CELL, CELL))
            page.paste(picture, (x + place * (CELL + 2), y + LINE))
    page.save(arguments.out, quality=85)


if __name__ == "__main__":
    main()
