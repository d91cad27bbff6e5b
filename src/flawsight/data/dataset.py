"""A labelled data set: images with their labels, whatever its layout on disk."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from ..errors import DatasetError

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Sample:
    """One image and its labels.

    Attributes:
        image: absolute path.
        label: 1 defective, 0 normal.
        category: the product, like "bottle".
        split: "train", "validation" or "test".
        class_name: kind of defect, like "crack"; "good" if normal.
        mask: file of the ground-truth mask, defective pixels above 0; None if there is none.
        polygons: the ground-truth mask as polygons instead of a file: (x, y) vertices in pixels.
        reference: a text to compare explanations with.
    """

    image: Path
    label: int
    category: str
    split: str
    class_name: str
    mask: Path | None = None
    polygons: tuple[Polygon, ...] = ()
    reference: str | None = None

    @property
    def pixel_labelled(self) -> bool:
        """Whether the defective pixels are known; a normal image has none."""
        return self.label == 0 or self.mask is not None or bool(self.polygons)

    def to_json(self) -> dict[str, Any]:
        """Return the sample as JSON types."""
        mask = None if self.mask is None else str(self.mask)
        return asdict(self) | {"image": str(self.image), "mask": mask}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the sample that `to_json` wrote."""
        mask = None if values["mask"] is None else Path(values["mask"])
        polygons = tuple(tuple((x, y) for x, y in polygon) for polygon in values["polygons"])
        typed = {"image": Path(values["image"]), "mask": mask, "polygons": polygons}
        return cls(**values | typed)


@dataclass(frozen=True)
class Dataset:
    """A named collection of samples. `samples` are sorted by category, split, class and name."""

    name: str
    root: Path
    samples: tuple[Sample, ...]

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
