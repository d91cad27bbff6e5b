"""The references of good photos that a service inspects with, by product, and their changes."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from PIL import Image
from starlette.exceptions import HTTPException

from ..errors import LearnError
from ..reference.memory import Reference
from ..reference.stored import GoodPhoto
from .batching import InspectBatch
from .reference_files import digest_of, replace_reference

# Photos with scores of their own, which give the threshold.
LEAST = 2


class Taught(Protocol):
    """What is used of an Inspector with a reference."""

    threshold: float | None

    @property
    def inspect_batch(self) -> InspectBatch:
        """See `Inspector`."""


ReadFile = tuple[Path, str, Reference]
Learn = Callable[[Reference, Sequence[tuple[str, Image.Image]], Collection[str]], Reference]


@dataclass(frozen=True)
class Product:
    """How the parts of one product are inspected now.

    Attributes:
        name: of the product.
        file: of its reference.
        digest: hash of the file's bytes as they were last read or written.
        reference: of good photos.
        inspect_batch: the `Inspector`'s with it.
        threshold: above which score a part is defective.
        sha256: of the reference, see `Reference.sha256`.
        ids: of its photos, 32 hexadecimal digits of the hash of each one's picture.
        scores: of its photos, each in comparison with the others; none of a single one.
        calibrated: whether the threshold is a calibration's, which holds for this reference alone.
    """

    name: str
    file: Path
    digest: str
    reference: Reference
    inspect_batch: InspectBatch
    threshold: float | None
    sha256: str
    ids: tuple[str, ...]
    scores: tuple[float, ...]
    calibrated: bool

    @property
    def pictures(self) -> dict[str, str]:
        """URLs of the photos' pictures by the photos' names, relative to the page at /."""
        at = f"v1/references/{quote(self.name, safe='')}/photos"
        photos = self.reference.photos
        return {photo.name: f"{at}/{id}" for photo, id in zip(photos, self.ids, strict=True)}

    def photo(self, id: str) -> GoodPhoto:
        """Return a photo of the reference.

        Raises:
            HTTPException: if it has none of this id.
        """
        if id not in self.ids:
            raise HTTPException(404, f"The reference of {self.name!r} has no photo with this id.")
        return self.reference.photos[self.ids.index(id)]


class References:
    """The products of a service. Changes are for one thread at a time; all else is for any.

    Args:
        known: of `load_references`.
        learn: makes a reference of a known one, more photos, and the names of those to forget.
        inspector_of: makes the inspector of a product with a reference.
        calibrated: products whose threshold is a calibration's.

    Raises:
        CalibrationError, LearnError: of `inspector_of`.
    """

    def __init__(
        self,
        known: Mapping[str, ReadFile],
        learn: Learn,
        inspector_of: Callable[[str, Reference], Taught],
        calibrated: Collection[str] = (),
    ) -> None:
        self._learn, self._inspector_of = learn, inspector_of
        self._calibrated = calibrated
        self._products = {
            name: self._product(name, file, digest, reference)
            for name, (file, digest, reference) in known.items()
        }

    @property
    def products(self) -> list[Product]:
        """All products as they are now."""
        return list(self._products.values())

    def of_request(self, name: str | None) -> Product:
        """Return the product that a request names; one that names none gets the only one.

        Raises:
            HTTPException: if there is no such product, or none is named and there are several.
        """
        if name is None and len(self._products) == 1:
            return self.products[0]
        if name is None:
            raise HTTPException(
                422, f"The request names no product; send the field 'product', {self._known()}."
            )
        if name not in self._products:
            raise HTTPException(422, f"There is no product {name!r}; use {self._known()}.")
        return self._products[name]

    def pictures(self, name: str | None) -> dict[str, str]:
        """Return `Product.pictures` of a product; none if there is no such product any more."""
        product = self._products.get(name or "")
        return {} if product is None else product.pictures

    def named(self, name: str) -> Product:
        """Return a product of a path.

        Raises:
            HTTPException: if there is none.
        """
        if name not in self._products:
            known = self._known() if self._products else "start the service with --reference"
            raise HTTPException(404, f"There is no reference of a product {name!r}; {known}.")
        return self._products[name]

    def add(self, name: str, photo_name: str, image: Image.Image, most: int) -> Product:
        """Learn one more good photo of a product.

        Args:
            name: of the product.
            photo_name: of the photo, which no other one ever gets.
            image: upright RGB.
            most: photos of the new reference.

        Raises:
            LearnError: if the photo cannot be learned.
            StoreError: if the file cannot be replaced. In either case all stays as it was.
        """
        product = self._changeable(name)
        _check_count(len(product.ids) + 1, most)
        if any(photo.name == photo_name for photo in product.reference.photos):
            raise LearnError("This photo is in the reference already.")
        return self._replace(product, self._learn(product.reference, [(photo_name, image)], ()))

    def forget(self, name: str, photo_id: str, most: int) -> Product:
        """Learn a product's photos again without one of them; see `add`.

        Raises:
            HTTPException: if there is no such photo.
            LearnError: if too few are left.
            StoreError: if the file cannot be replaced. In each case all stays as it was.
        """
        product = self._changeable(name)
        photo = product.photo(photo_id)
        left = len(product.ids) - 1
        if left < LEAST:
            raise LearnError(
                f"A reference needs {LEAST} photos for a threshold of its own; add another photo "
                "before you remove this one."
            )
        _check_count(left, most)
        return self._replace(product, self._learn(product.reference, (), [photo.name]))

    def _changeable(self, name: str) -> Product:
        product = self.named(name)
        if product.calibrated:
            raise HTTPException(
                409,
                f"The calibration of {name!r} holds for its reference as it is; start the service "
                "without that calibration to change the photos, then calibrate again.",
            )
        return product

    def _replace(self, old: Product, reference: Reference) -> Product:
        new = self._product(old.name, old.file, "", reference)
        digest = replace_reference(reference, old.file, old.digest)
        new = replace(new, digest=digest)
        # Who reads meanwhile has the old dict, whole.
        self._products = self._products | {old.name: new}
        return new

    def _product(self, name: str, file: Path, digest: str, reference: Reference) -> Product:
        inspector = self._inspector_of(name, reference)
        return Product(
            name, file, digest, reference, inspector.inspect_batch, inspector.threshold,
            reference.sha256, tuple(map(_id_of, reference.photos)), tuple(reference.scores),
            name in self._calibrated,
        )  # fmt: skip

    def _known(self) -> str:
        return "known: " + ", ".join(self._products)


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise LearnError(
            f"The reference would have {count} photos, and the service learns {most} at most; "
            "use flawsight learn, and restart the service."
        )


def _id_of(photo: GoodPhoto) -> str:
    return hashlib.sha256(photo.picture).hexdigest()[:32]


def load_references(files: Mapping[str, Path]) -> dict[str, ReadFile]:
    """Return file, `digest_of` and reference by product.

    Raises:
        LearnError: if one cannot be read.
    """
    return {name: (file, digest_of(file), Reference.load(file)) for name, file in files.items()}


def _none(name: Any, *_: Any) -> Any:
    raise LearnError(f"There is no reference of {name}.")


# Of a service without --reference.
NO_REFERENCES = References({}, _none, _none)
