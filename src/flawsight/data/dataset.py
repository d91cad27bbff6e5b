"""A labelled data set: images with their labels, whatever its layout on disk."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from ..errors import DatasetError

Polygon = tuple[tuple[float, float], ...]
RunLengths = str | tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """One image and its labels.

    Attributes:
        image: absolute path.
        label: 1 defective, 0 normal.
        category: the product, like "bottle".
        split: "train", "validation" or "test".
        class_name: kind of defect, like "crack"; "good" if normal.
        mask: file of the ground-truth mask, or folder of masks to unite; None if there is none.
        polygons: the ground-truth mask as polygons instead of a file: (x, y) vertices in pixels.
        reference: a text to compare explanations with.
        run_lengths: the ground-truth mask as COCO's run lengths, united with `polygons`.
        annotated_size: (height, width) that polygons and run lengths are of; None if unknown.
        more_masks: files of further masks to unite with `mask`.
    """

    image: Path
    label: int
    category: str
    split: str
    class_name: str
    mask: Path | None = None
    polygons: tuple[Polygon, ...] = ()
    reference: str | None = None
    run_lengths: tuple[RunLengths, ...] = ()
    annotated_size: tuple[int, int] | None = None
    more_masks: tuple[Path, ...] = ()

    @property
    def has_mask(self) -> bool:
        """Whether the defective pixels are given, by a file or by annotations."""
        return self.mask is not None or bool(self.polygons or self.run_lengths)

    @property
    def masks(self) -> tuple[Path, ...]:
        """The files and folders of its masks."""
        return () if self.mask is None else (self.mask, *self.more_masks)

    @property
    def pixel_labelled(self) -> bool:
        """Whether the defective pixels are known; a normal image has none."""
        return self.label == 0 or self.has_mask

    def to_json(self) -> dict[str, Any]:
        """Return the sample as JSON types."""
        mask = None if self.mask is None else str(self.mask)
        more = [str(path) for path in self.more_masks]
        return asdict(self) | {"image": str(self.image), "mask": mask, "more_masks": more}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the sample that `to_json` wrote."""
        mask = None if values["mask"] is None else Path(values["mask"])
        polygons = tuple(tuple((x, y) for x, y in polygon) for polygon in values["polygons"])
        runs = tuple(r if isinstance(r, str) else tuple(r) for r in values.get("run_lengths", ()))
        size = values.get("annotated_size")
        typed: dict[str, Any] = {
            "image": Path(values["image"]),
            "mask": mask,
            "polygons": polygons,
            "run_lengths": runs,
            "annotated_size": None if size is None else tuple(size),
            "more_masks": tuple(map(Path, values.get("more_masks", ()))),
        }
        return cls(**values | typed)


@dataclass(frozen=True)
class UnusedFile:
    """A file in a data set's folder that is neither an image nor a mask of it, and why."""

    path: Path
    kind: Literal["mask without image", "mask of a normal image", "left out", "not read"]
    reason: str = ""


@dataclass(frozen=True)
class Dataset:
    """A named collection of samples.

    Attributes:
        name: of the data set.
        root: its folder.
        samples: sorted by category, split, class and name.
        unused: the other files of its folder; if a list names the images, masks of normal ones.
    """

    name: str
    root: Path
    samples: tuple[Sample, ...]
    unused: tuple[UnusedFile, ...] = ()

    @property
    def categories(self) -> list[str]:
        """Return the products, sorted."""
        return sorted({sample.category for sample in self.samples})

    def split(self, name: str) -> "Dataset":
        """Return the split "train", "validation" or "test".

        Raises:
            DatasetError: if it is empty.
        """
        chosen = tuple(sample for sample in self.samples if sample.split == name)
        if not chosen:
            held = sorted({sample.split for sample in self.samples})
            raise DatasetError(
                f"{self.name} in {self.root} has no {name} images; it has {', '.join(held)}."
            )
        return replace(self, samples=chosen)

    def limited(self, count: int) -> "Dataset":
        """Return at most `count` images per category and class, evenly spaced in their order."""
        groups: dict[tuple[str, str], list[Sample]] = {}
        for sample in self.samples:
            groups.setdefault((sample.category, sample.class_name), []).append(sample)
        chosen: list[Sample] = []
        for group in groups.values():
            kept = min(count, len(group))
            chosen += [group[index * len(group) // kept] for index in range(kept)]
        return replace(self, samples=tuple(chosen))
