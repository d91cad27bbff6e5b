"""Procedural data sets of any size on disk, in the folder layout of MVTec-AD.

    made.json                                     what the set was made with
    samples.jsonl                                 one object per image, with its facts
    FAMILY/train/good/NNNNNN.png                  normal
    FAMILY/test/good/NNNNNN.png                   normal
    FAMILY/test/DEFECT/NNNNNN.png                 the same with defects
    FAMILY/ground_truth/DEFECT/NNNNNN_mask.png    0 or 255

DEFECT is "combined" if an image has several kinds. Every pair has a random stream of its own: a set
made larger keeps its images.
"""

import io
import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flawsight.errors import DatasetError, SettingsError

from .defects.defect_table import TEST_DEFECTS, suitable
from .families.family_table import FAMILIES, TEST_FAMILIES, TRAIN_FAMILIES, VALIDATION_FAMILIES
from .pairs import render_pair
from .sample import DefectRegion, SurfaceSample

FORMAT = 2
LISTING = "samples.jsonl"
_GROUPS = {"train": TRAIN_FAMILIES, "validation": VALIDATION_FAMILIES, "test": TEST_FAMILIES}
_MIN_SIDE, _MAX_SIDE = 64, 1024


@dataclass(frozen=True)
class Recipe:
    """What fixes every pixel of a procedural set, however many samples are made.

    Attributes:
        seed: 0 or more.
        sizes: (height, width) in pixels, taken in turns; sides of 64 to 1024.
        difficulty: in [0, 1]; 0 large plain defects, 1 small and faint ones too.
        defects: most defects in an image, 1 to 4.
        kinds: of defects: "train", or "test" for those that no training set holds (one kind per
            image).
    """

    seed: int = 0
    sizes: tuple[tuple[int, int], ...] = ((240, 240),)
    difficulty: float = 1.0
    defects: int = 1
    kinds: str = "train"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise SettingsError(f"The seed must be 0 or more, not {self.seed}.")
        if not 0 <= self.difficulty <= 1:
            raise SettingsError(f"The difficulty lies in [0, 1]; {self.difficulty} does not.")
        if not 1 <= self.defects <= 4:
            raise SettingsError(f"An image has 1 to 4 defects, not {self.defects}.")
        if self.kinds not in ("train", "test"):
            raise SettingsError(f"Kinds of defects are train or test, not {self.kinds!r}.")
        for height, width in self.sizes:
            if not (_MIN_SIDE <= height <= _MAX_SIDE and _MIN_SIDE <= width <= _MAX_SIDE):
                raise SettingsError(
                    f"Sides are {_MIN_SIDE} to {_MAX_SIDE} pixels long; {width}x{height} is not."
                )


def choose_families(text: str) -> tuple[str, ...]:
    """Return the families named: "train", "validation", "test", "all", or names with commas.

    Raises:
        SettingsError: if there is no family of a name.
    """
    chosen: list[str] = []
    for part in (part.strip().replace("_", " ") for part in text.split(",")):
        if part == "all":
            chosen += FAMILIES
        elif part in _GROUPS:
            chosen += _GROUPS[part]
        elif part in FAMILIES:
            chosen.append(part)
        else:
            raise SettingsError(
                f"There is no family {part!r}. Give {', '.join(_GROUPS)}, all, or some of: "
                f"{', '.join(sorted(FAMILIES))}."
            )
    return tuple(dict.fromkeys(chosen))


def make_dataset(
    folder: Path,
    recipe: Recipe,
    families: Sequence[str],
    pairs: int,
    train: int = 0,
    on_images: Callable[[int], None] | None = None,
) -> int:
    """Render a set into a folder, or resume one; return the number of new images.

    Args:
        folder: made if it does not exist.
        recipe: seed, sizes and difficulty.
        families: keys of `FAMILIES`.
        pairs: test images of each family, as many normal as defective.
        train: normal training images of each family.
        on_images: called with the number of images just rendered or found.

    Raises:
        DatasetError: if the folder holds something else, or a set of another recipe.
    """
    done = _open_folder(folder, recipe)
    made = 0
    with (folder / LISTING).open("a", encoding="utf-8") as listing:
        for index in range(max(pairs, train)):
            for family in families:
                for split, number, images in (("train", train, 1), ("test", pairs, 2)):
                    if index >= number:
                        continue
                    if (family, split, index) not in done:
                        pair = _render(recipe, family, split, index)
                        rows = [_write(folder, s, split, index) for s in pair[:images]]
                        # Rows follow their files: a stopped run lists no missing file.
                        listing.write("".join(json.dumps(row) + "\n" for row in rows))
                        listing.flush()
                        made += images
                    if on_images is not None:
                        on_images(images)
    return made


def describe_defects(sample: SurfaceSample) -> str:
    """Return one short true sentence about a surface."""
    if sample.label == 0:
        return "Nothing is wrong here."
    return f"There is {' and '.join(map(_describe, sample.defects))}."


def _describe(region: DefectRegion) -> str:
    what = " ".join(word for word in (region.tone, region.kind) if word)
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what} in the {region.place}"


def _render(
    recipe: Recipe, family: str, split: str, index: int
) -> tuple[SurfaceSample, SurfaceSample]:
    """Render a pair from a random stream of its seed and place in the set."""
    name = zlib.crc32(f"{split}/{family}".encode())
    rng = np.random.default_rng([recipe.seed, name, index])
    size = recipe.sizes[index % len(recipe.sizes)]
    defects = int(rng.integers(1, recipe.defects + 1))
    kind = None
    if recipe.kinds == "test":
        kind = str(rng.choice(suitable(FAMILIES[family].material, TEST_DEFECTS)))
    return render_pair(
        rng, size, family=family, defect=kind, difficulty=recipe.difficulty, defects=defects
    )


def _write(folder: Path, sample: SurfaceSample, split: str, index: int) -> dict[str, Any]:
    """Write the files of a sample; return its row."""
    category = sample.family.replace(" ", "_")
    kinds = {region.kind for region in sample.defects} or {"good"}
    kind = kinds.pop().replace(" ", "_") if len(kinds) == 1 else "combined"
    image = Path(category, split, kind, f"{index:06d}.png")
    _write_png(folder / image, sample.image)
    mask = Path(category, "ground_truth", kind, f"{index:06d}_mask.png")
    if sample.label == 1:
        _write_png(folder / mask, sample.gt_mask.astype(np.uint8) * 255)
    return {
        "path": image.as_posix(),
        "mask": mask.as_posix() if sample.label == 1 else None,
        "label": sample.label,
        "category": category,
        "split": split,
        "class": kind,
        "reference": describe_defects(sample),
        "place": sample.place,
        "defect": sample.defect,
        "regions": [
            {"kind": r.kind, "tone": r.tone, "place": r.place, "share": round(r.share, 6)}
            for r in sample.defects
        ],
        "features": [asdict(feature) for feature in sample.features],
        "color": sample.color,
        "count": sample.count,
        "background": sample.background,
    }


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path, buffer.getvalue())


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def _open_folder(folder: Path, recipe: Recipe) -> set[tuple[str, str, int]]:
    """Make or resume a folder; return (family, split, index) of all that is complete in it."""
    about = {"format": FORMAT} | json.loads(json.dumps(asdict(recipe)))
    made = folder / "made.json"
    if not made.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DatasetError(
                f"{folder} holds something that `flawsight data make` did not make; name a new or "
                "empty folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        _write_whole(made, json.dumps(about, indent=1).encode())
        return set()
    try:
        found = json.loads(made.read_text())
    except ValueError as error:
        raise DatasetError(f"{made} is damaged ({error}); name a new folder.") from error
    if found != about:
        raise DatasetError(
            f"{folder} was made with {found}, not {about}. Give the same seed, sizes, "
            "difficulty and defects to resume it, or name a new folder."
        )
    return _read_listing(folder)


def _read_listing(folder: Path) -> set[tuple[str, str, int]]:
    """Return what is complete; incomplete rows are removed from the list."""
    listing = folder / LISTING
    if not listing.is_file():
        return set()
    groups: dict[tuple[str, str, int], list[str]] = {}
    lines = listing.read_text(encoding="utf-8").splitlines(keepends=True)
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut off when the program was stopped
        files = [folder / row[column] for column in ("path", "mask") if row[column]]
        if line.endswith("\n") and all(file.is_file() for file in files):
            key = (row["category"].replace("_", " "), row["split"], int(files[0].stem))
            groups.setdefault(key, []).append(line)
    complete = {
        key: rows for key, rows in groups.items() if len(rows) == (2 if key[1] == "test" else 1)
    }
    kept = "".join(row for rows in complete.values() for row in rows)
    if kept != "".join(lines):
        _write_whole(listing, kept.encode())
    return set(complete)
