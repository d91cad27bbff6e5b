"""Check a data set before evaluation: counts, and errors in its files."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import DatasetError, ImageError
from ..io.images import SUFFIXES, read_image
from .dataset import Dataset, Sample
from .mask_pairs import unmarked
from .masks import MaskSizeError, may_be_turned, read_gt_mask, read_mask_file
from .unused import left_out
from .walk import MASK_FOLDERS

# The share of an image above which a mask is taken to be inverted or no mask at all.
_MOST = 0.9
# An image is like a mask if this share of it is as near to black or white, of 255.
_BLACK_AND_WHITE, _NEAR = 0.99, 16


@dataclass(frozen=True)
class Count:
    """The number of images of a class, and of those with a mask or polygons."""

    split: str
    category: str
    class_name: str
    images: int
    masks: int


@dataclass(frozen=True)
class Finding:
    """One error in a data set: its kind, the file, and details, which may be empty."""

    kind: str
    path: Path
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """The result of `check_dataset`. `notes` are no errors."""

    name: str
    root: Path
    counts: tuple[Count, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def check_dataset(
    dataset: Dataset,
    on_sample: Callable[[], None] = lambda: None,
    bit_depth: int | None = None,
) -> Report:
    """Check every file of a data set.

    Two images are duplicates if they decode to the same upright RGB pixels, whatever their file
    format. Memory grows by a hash of 16 bytes per image. `on_sample` is called after each sample.
    `bit_depth` is that of `Settings`.
    """
    findings: list[Finding] = []
    by_hash: dict[bytes, list[Sample]] = {}
    some_masks = any(s.label == 1 and s.pixel_labelled for s in dataset.samples)
    like_masks: list[Sample] = []
    unmasked = resized = 0
    for sample in dataset.samples:
        size: tuple[int, int] | None = None
        try:
            image = read_image(sample.image, bit_depth)
            size = (image.height, image.width)
            by_hash.setdefault(_pixel_hash(image), []).append(sample)
            if _is_like_a_mask(image):
                like_masks.append(sample)
        except ImageError as error:
            findings.append(Finding("unreadable image", sample.image, str(error)))
        of_mask = list(_check_mask(sample, size))
        findings += of_mask
        resized += size is not None and not of_mask and _is_resized(sample, size)
        if not sample.pixel_labelled:
            unmasked += 1
            if some_masks:
                findings.append(Finding("defective image without mask", sample.image))
        on_sample()
    findings += _check_names(dataset.samples)
    findings += _check_like_masks(dataset.samples, like_masks)
    findings += _check_unused(dataset)
    notes = [
        f"Other files: {len(files)} ({reason}), like {files[0]}."
        for reason, files in _not_read(dataset).items()
    ]
    if resized:
        notes.append(
            f"{resized} masks are resized to their image, which has the same aspect ratio."
        )
    if unmasked and not some_masks:
        notes.append(
            f"None of the {unmasked} defective images has a mask: only image-level metrics can be "
            "computed."
        )
    copies = 0
    for same in by_hash.values():
        found = list(_check_duplicates(same))
        findings += found
        copies += 0 if found else len(same) - 1
    if copies:
        notes.append(f"{copies} images are exact copies of another of the same split and label.")
    counts = _counts(dataset.samples)
    return Report(dataset.name, dataset.root, counts, tuple(findings), tuple(notes))


def _counts(samples: Iterable[Sample]) -> tuple[Count, ...]:
    images: Counter[tuple[str, str, str]] = Counter()
    masks: Counter[tuple[str, str, str]] = Counter()
    for sample in samples:
        key = (sample.split, sample.category, sample.class_name)
        images[key] += 1
        masks[key] += sample.has_mask
    return tuple(Count(*key, images[key], masks[key]) for key in sorted(images))


def _pixel_hash(image: Image.Image) -> bytes:
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.digest()


def _check_mask(sample: Sample, size: tuple[int, int] | None) -> Iterator[Finding]:
    """Check a mask against its upright image of (height, width), None if that is unreadable."""
    if not sample.has_mask or (sample.mask is None and size is None):
        return
    path = sample.mask or sample.image
    try:
        gt_mask = read_gt_mask(sample, size)
        ambiguous = size is not None and may_be_turned(sample, size)
    except MaskSizeError as error:
        yield Finding("mask of another size than its image", path, str(error))
        return
    except DatasetError as error:
        yield Finding("unreadable mask", path, str(error))
        return
    if ambiguous:
        taken = "upright" if sample.mask is not None else "of the stored pixels"
        detail = f"its image is marked as turned (EXIF); taken to be {taken}"
        yield Finding("mask that may have to be turned", path, detail)
    if sample.label == 1 and not gt_mask.any():
        yield Finding("empty mask of a defective image", path)
    if sample.label == 1 and gt_mask.mean() > _MOST:
        detail = f"{gt_mask.mean():.1%}; is black the normal part?"
        yield Finding(f"mask of more than {_MOST:.0%} of its image", path, detail)
    if sample.label == 0 and gt_mask.any():
        yield Finding("mask of a normal image is not empty", path, f"{gt_mask.sum()} pixels")


def _is_resized(sample: Sample, size: tuple[int, int]) -> bool:
    for mask in sample.masks:
        if not mask.is_dir():
            with Image.open(mask) as file:
                if sorted(file.size) != sorted(size):
                    return True
    return False


def _check_names(samples: Iterable[Sample]) -> Iterator[Finding]:
    """Name images that differ from another one in their suffix alone."""
    seen: dict[Path, Path] = {}
    for sample in samples:
        other = seen.setdefault(sample.image.with_suffix(""), sample.image)
        if other != sample.image:
            detail = f"and {other.name}, both taken as images; is one the mask of the other?"
            yield Finding("images of one name", sample.image, detail)


def _is_like_a_mask(image: Image.Image) -> bool:
    """Whether an image has two colours at most, or is black and white, maybe compressed."""
    counts = image.convert("L").histogram()
    extremes = sum(counts[:_NEAR]) + sum(counts[-_NEAR:])
    return image.getcolors(2) is not None or extremes >= _BLACK_AND_WHITE * sum(counts)


def _check_like_masks(samples: Iterable[Sample], like: Sequence[Sample]) -> Iterator[Finding]:
    """Name defective images that are like masks, unless normal ones are, too."""
    normal = sum(sample.label == 0 for sample in samples)
    if 2 * sum(sample.label == 0 for sample in like) < normal:
        for sample in like:
            if sample.label == 1:
                detail = "taken as an image; name the mask of 000.png 000_mask.png"
                yield Finding("image that is like a mask", sample.image, detail)


def _check_unused(dataset: Dataset) -> Iterator[Finding]:
    paths = set()
    for file in left_out(dataset):
        paths.add(file.path)
        kind = "file left out" if file.kind == "left out" else file.kind
        yield Finding(kind, file.path, file.reason)
    of_normal = [file.path for file in dataset.unused if file.kind == "mask of a normal image"]
    for path in of_normal:
        try:
            if count := read_mask_file(path).sum():
                yield Finding("mask of a normal image is not empty", path, f"{count} pixels")
        except DatasetError as error:
            yield Finding("unreadable mask", path, str(error))
    for path in _orphans(dataset):
        if path not in paths and path not in of_normal:
            yield Finding("mask without image", path)


def _not_read(dataset: Dataset) -> dict[str, list[Path]]:
    by_reason: dict[str, list[Path]] = {}
    for file in dataset.unused:
        if file.kind == "not read":
            by_reason.setdefault(file.reason, []).append(file.path)
    return by_reason


def _check_duplicates(same: list[Sample]) -> Iterator[Finding]:
    """Name each image that equals an earlier one in another split or with another label."""
    for index, sample in enumerate(same[1:], 1):
        earlier = same[:index]
        if other := next((s for s in earlier if s.split != sample.split), None):
            detail = f"{sample.split}; {other.split}: {other.image}"
            yield Finding("same image in two splits", sample.image, detail)
        of_split = [s for s in earlier if s.split == sample.split]
        if other := next((s for s in of_split if s.label != sample.label), None):
            detail = f"{sample.class_name}; {other.class_name}: {other.image}"
            yield Finding("same image with two labels", sample.image, detail)


def _orphans(dataset: Dataset) -> list[Path]:
    """Return the mask files on disk that have no image.

    A list may name only some of the images on disk. The masks of the others are no orphans: a mask
    counts only if no file in the folders of its neighbours' images has its stem.
    """
    used = {mask for sample in dataset.samples for mask in sample.masks}
    images = {sample.image for sample in dataset.samples}
    image_folders = {image.parent for image in images}
    image_folders_of: dict[Path, set[Path]] = {}
    for sample in dataset.samples:
        if sample.mask is not None:
            image_folders_of.setdefault(sample.mask.parent, set()).add(sample.image.parent)
    for folder in _unused_mask_folders(image_folders, image_folders_of):
        image_folders_of[folder] = {
            images_of
            for images_of in image_folders
            if images_of.name == folder.name and images_of.parent.parent == folder.parent.parent
        }
    orphans = []
    for folder, folders in image_folders_of.items():
        stems = {file.stem for parent in folders for file in _files(parent)}
        for file in _files(folder):
            if file in used or file in images or file.suffix.lower() not in SUFFIXES:
                continue
            bare = unmarked(file.stem) or file.stem
            if folder in image_folders and bare == file.stem:
                continue  # an image that the data set leaves out, not a mask
            if bare not in stems and (folder in image_folders or file.stem not in stems):
                orphans.append(file)
    return sorted(orphans)


def _files(folder: Path) -> list[Path]:
    """Return the content of a folder; nothing if it does not exist."""
    return list(folder.iterdir()) if folder.is_dir() else []


def _unused_mask_folders(image_folders: set[Path], used: Iterable[Path]) -> set[Path]:
    """Return folders like ground_truth/crack, next to test/, in which no sample has its mask."""
    tops = {parent for folder in image_folders for parent in (folder.parent, folder.parent.parent)}
    found = (path for top in tops for name in MASK_FOLDERS for path in _files(top / name))
    return {path for path in found if path.is_dir()} - set(used) - image_folders
