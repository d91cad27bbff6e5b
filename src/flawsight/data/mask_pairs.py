"""Images and masks, paired by name and never by order."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ..errors import DatasetError
from .walk import MASK_FOLDERS, is_image_file, walk

_MARKER = r"(?:masks?|labels?|gt|ground[_-]?truth|seg|segm|segmentation|anno|annotation)"
# With a number at its end, a name is that of one of several masks: 000_mask_1, 000_gt2.
_NUMBERED = r"(?:masks?|gt|ground[_-]?truth)[_\-. ]?\d+"
_MARKED = re.compile(
    rf"(?:(.+)[_\-. ](?:{_MARKER}|{_NUMBERED})|{_MARKER}[_\-. ](.+))", re.IGNORECASE
)
_ONE_OF_SEVERAL = re.compile(rf".+[_\-. ]{_NUMBERED}", re.IGNORECASE)
Masks = tuple[Path, ...]


def unmarked(stem: str) -> str | None:
    """Return the stem of the image that a mask is named after; None if it has no marker.

    "000_mask", "000-GT", "mask_000" and "000_mask_1" are named after "000".
    """
    match = _MARKED.fullmatch(stem)
    return match and (match[1] or match[2])


def pair_masks(
    folder: Path, mask_folders: Sequence[Path], skip: Collection[str] = ()
) -> list[tuple[Path, Masks]]:
    """Return every image below a folder, with its mask, or the numbered ones to unite, or none.

    A file named after an image of the same folder, like 000_mask.png beside 000.jpg, is its mask.
    So is what `MaskFinder` finds in `mask_folders` and in folders like gt/ below `folder`.

    Args:
        folder: of one class.
        mask_folders: may not exist.
        skip: names of folders in `mask_folders` that belong to other classes, lower case.

    Raises:
        DatasetError: if an image has several masks that are not numbered.
    """
    files, inner = walk(folder, MASK_FOLDERS)
    files = [path for path in files if is_image_file(path)]
    stems = {(path.parent, path.stem) for path in files}
    images: list[Path] = []
    beside: dict[tuple[Path, str | None], list[Path]] = {}
    for path in files:
        key = (path.parent, unmarked(path.stem))
        if key in stems:
            beside.setdefault(key, []).append(path)
        else:
            images.append(path)
    finders = [MaskFinder(masks, images, folder, skip) for masks in mask_folders]
    finders += [MaskFinder(masks, images, masks.parent) for masks in inner]
    pairs = []
    for image in images:
        hits = list(beside.get((image.parent, image.stem), ()))
        hits += [hit for finder in finders for hit in finder.find(image)]
        pairs.append((image, _one_or_numbered(image, hits)))
    return pairs


class MaskFinder:
    """The masks below a folder, found by the name of their image.

    000.jpg has the mask 000.*, 000.jpg.*, or 000.* with a marker (`unmarked`), with any suffix of
    an image; or the folder 000/ or the numbered 000_mask_1.*, 000_mask_2.*, which are united. A
    mask may be in the folder that corresponds to its image's, or, if no image there has its name,
    in any other.

    Args:
        folder: of the masks; may not exist.
        images: all that may have their masks here.
        base: the folder of the images that corresponds to `folder`.
        skip: names of folders not to enter, lower case.
    """

    def __init__(
        self,
        folder: Path,
        images: Iterable[Path] = (),
        base: Path | None = None,
        skip: Collection[str] = (),
    ) -> None:
        self.folder = folder
        self._base = base
        self._images = {(self._place(image), image.stem) for image in images}
        self._stems = {stem for _, stem in self._images}
        self._places = {place for place, _ in self._images}
        self._masks: dict[str, set[Path]] = {}
        for path in walk(folder, skip)[0]:
            if is_image_file(path):
                mask = self._united(path)
                name = mask.name if mask != path else path.stem
                for key in {name, unmarked(name) or name}:
                    self._masks.setdefault(key, set()).add(mask)

    def find(self, image: Path) -> Masks:
        """Return the mask of an image, the folder of its masks, its numbered masks, or none.

        Raises:
            DatasetError: if several match that are not numbered.
        """
        hits = self._masks.get(image.stem, set()) | self._masks.get(image.name, set())
        hits = hits - {image}
        mirrored = self.folder / self._place(image)
        own = [hit for hit in hits if hit.parent == mirrored]
        free = [hit for hit in hits if (self._below(hit.parent), image.stem) not in self._images]
        return _one_or_numbered(image, sorted(own or free))

    def _place(self, image: Path) -> Path:
        """Return the folder of an image, relative to that of all images."""
        if self._base is not None and image.is_relative_to(self._base):
            return image.parent.relative_to(self._base)
        return Path()

    def _below(self, path: Path) -> Path:
        return path.relative_to(self.folder)

    def _united(self, path: Path) -> Path:
        """Return the folder named after an image that holds a file, or the file."""
        for parent in reversed(path.parents[: len(self._below(path).parts) - 1]):
            if parent.name in self._stems or unmarked(parent.name) in self._stems:
                own = self._below(parent)
                if not any(place.is_relative_to(own) for place in self._places):
                    return parent
        return path


def _one_or_numbered(image: Path, masks: Sequence[Path]) -> Masks:
    numbered = all(_ONE_OF_SEVERAL.fullmatch(mask.stem) for mask in masks)
    if len(masks) > 1 and not (numbered and len({mask.parent for mask in masks}) == 1):
        names = " and ".join(path.name for path in masks)
        folders = " and ".join(dict.fromkeys(str(path.parent) for path in masks))
        raise DatasetError(
            f"{image} has several masks in {folders}: {names}. Leave only one of them."
        )
    return tuple(masks)
