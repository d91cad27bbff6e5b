"""Changes of a reference in a running service: one at a time, while inspections go on.

The model is locked for one photo at a time, so batches run between the photos. Images that were
taken before a change ends are inspected with the old reference, all later ones with the new.
"""

from PIL import Image
from starlette.exceptions import HTTPException

from .database import InspectionRow
from .one_change import alone
from .photo_memory import good_photo
from .references import Product
from .rendered_files import read
from .service import Service
from .uploads import Upload, open_upload


async def add_photo(service: Service, product: str, row: InspectionRow) -> Product:
    """Add the photo of a reviewed inspection to its product's reference.

    Raises:
        BusyError: if another change takes too long, or the service is stopping.
        HTTPException: if there is no such product, or the inspection is of another one or not
            reviewed as good, or the threshold is a calibration's.
        ImageError: if the photo is damaged.
        LearnError: if it cannot be learned.
        StoreError: if the photo is gone, or the reference cannot be written.
    """
    service.references.named(product)
    if row.product != product:
        shown = "none" if row.product is None else repr(row.product)
        raise HTTPException(409, f"The inspection is of another product: {shown}.")
    if row.true_label is not False:
        raise HTTPException(
            409, "Only photos that were reviewed as good are learned; review this one first."
        )

    def add() -> Product:
        image = _photo(service, row)
        # Regions name the good photo that they should look like, so no two ever share a name.
        name = f"{row.id}/{row.name or 'photo'}"
        changed = service.references.add(product, name, image, service.limits.good_photos)
        service.reloader.note(changed.file)
        return changed

    return await alone(service, add)


async def forget_photo(service: Service, product: str, photo_id: str) -> Product:
    """Take a photo out of a product's reference.

    Raises:
        BusyError, LearnError, StoreError: as `add_photo`.
        HTTPException: if there is no such product or photo, or the threshold is a calibration's.
    """
    service.references.named(product).photo(photo_id)

    def forget() -> Product:
        changed = service.references.forget(product, photo_id, service.limits.good_photos)
        service.reloader.note(changed.file)
        return changed

    return await alone(service, forget)


def _photo(service: Service, row: InspectionRow) -> Image.Image:
    content = read(service.store.files.folder(row.id) / "photo")
    image = open_upload(Upload(row.name, content), service.limits)
    if not isinstance(image, Image.Image):
        raise image
    limits, depth = service.limits, service.reloader.now.about.get("bit_depth")
    return good_photo(image, service.pixels, limits.inspected_pixels, depth)
