"""Changes of a reference in a running service: one at a time, while inspections go on.

The model is locked for one photo at a time, so batches run between the photos. Images that were
taken before a change ends are inspected with the old reference, all later ones with the new.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image
from starlette.exceptions import HTTPException

from ..errors import BusyError
from .database import InspectionRow
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
        return service.references.add(product, name, image, service.limits.good_photos)

    return await _alone(service, add)


async def forget_photo(service: Service, product: str, photo_id: str) -> Product:
    """Take a photo out of a product's reference.

    Raises:
        BusyError, LearnError, StoreError: as `add_photo`.
        HTTPException: if there is no such product or photo, or the threshold is a calibration's.
    """
    service.references.named(product).photo(photo_id)
    most = service.limits.good_photos
    return await _alone(service, lambda: service.references.forget(product, photo_id, most))


def _photo(service: Service, row: InspectionRow) -> Image.Image:
    content = read(service.store.files.folder(row.id) / "photo")
    image = open_upload(Upload(row.name, content), service.limits)
    if not isinstance(image, Image.Image):
        raise image
    limits, depth = service.limits, service.about.get("bit_depth")
    return good_photo(image, service.pixels, limits.inspected_pixels, depth)


async def _alone(service: Service, change: Callable[[], Product]) -> Product:
    """Make a change in a thread of its own when no other one runs; it ends even if nobody waits."""
    if not service.batcher.alive:
        raise BusyError("The service is stopping.")
    try:
        async with asyncio.timeout(service.limits.deadline):
            await service.changing.acquire()
    except TimeoutError as error:
        raise BusyError("Another photo is being learned; try again later.") from error
    # A thread that ends takes torch's OpenMP workers with it, see cli/serve_command.py.
    thread = ThreadPoolExecutor(1, "learn")
    running = asyncio.get_running_loop().run_in_executor(thread, change)
    thread.shutdown(wait=False)

    def end(done: Any) -> None:
        done.cancelled() or done.exception()  # is retrieved
        service.changing.release()

    running.add_done_callback(end)
    return await asyncio.shield(running)
