"""Request body → image files in memory. A faulty image becomes an error of that image only."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..errors import ImageError
from ..io.images import open_image
from .limits import Limits
from .schemas import InspectRequest, Label, UploadedImage

_PRODUCT: TypeAdapter[str | None] = TypeAdapter(Label | None)
_FORM_FIELDS = 8


@dataclass(frozen=True)
class Upload:
    """One image file as uploaded. `name` is for display only and never opened."""

    name: str | None
    content: bytes
    error: ImageError | None = None


async def read_uploads(request: Request, limits: Limits) -> tuple[list[Upload], str | None]:
    """Return the images and the product of a request.

    Raises:
        HTTPException: if the body is malformed or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            uploads, product = await _read_form(request, limits)
        elif kind == "application/json":
            body = InspectRequest.model_validate_json(await request.body())
            uploads, product = [_decoded(image) for image in body.images], body.product
        else:
            raise HTTPException(415, "Send multipart/form-data or application/json.")
    except ValidationError as error:
        reason = explanation(error.errors(include_input=False, include_context=False))
        raise HTTPException(422, reason) from error
    if not uploads:
        raise HTTPException(422, "There is no image; send files in the field 'images'.")
    if len(uploads) > limits.images:
        raise HTTPException(413, f"A request may have at most {limits.images} images.")
    return uploads, product


def open_upload(upload: Upload, limits: Limits) -> Image.Image | ImageError:
    """Open an image without decoding it, or return what is wrong with it."""
    if upload.error is not None:
        return upload.error
    if len(upload.content) > limits.image_bytes:
        return ImageError(f"The image has more than {limits.image_bytes:,} bytes.")
    try:
        return open_image(upload.content, limits.pixels)
    except ImageError as error:
        return error


async def _read_form(request: Request, limits: Limits) -> tuple[list[Upload], str | None]:
    # One file more than allowed, so that we and not the parser report the limit.
    async with request.form(max_files=limits.images + 1, max_fields=_FORM_FIELDS) as form:
        if unknown := sorted(set(form) - {"images", "product"}):
            raise HTTPException(422, f"Unknown field {unknown[0][:40]!r}; use images, product.")
        uploads = []
        for file in form.getlist("images"):
            if not isinstance(file, UploadFile):
                raise HTTPException(422, "The field 'images' must hold files.")
            uploads.append(Upload(_shown(file.filename), await file.read()))
        return uploads, _PRODUCT.validate_python(form.get("product") or None)


def _decoded(image: UploadedImage) -> Upload:
    try:
        return Upload(image.name, base64.b64decode(image.data, validate=True))
    except (binascii.Error, ValueError):
        return Upload(image.name, b"", ImageError("The image is not valid base64."))


def _shown(filename: str | None) -> str | None:
    """Return the last part of a client's file name, made printable."""
    name = (filename or "").replace("\\", "/").rpartition("/")[2][:200]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name) or None


def explanation(errors: Sequence[Any]) -> str:
    """Return field and reason of pydantic's errors, without the value: it may not be text."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    return f"{where}: {errors[0]['msg']}" if where else str(errors[0]["msg"])
