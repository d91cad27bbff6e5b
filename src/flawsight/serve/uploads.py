"""Request body → image files in memory. A faulty image becomes an error of that image only."""

import codecs
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any

from anyio import to_thread
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..errors import ImageError
from ..io.images import open_image
from .base64_images import decode_base64
from .limits import Limits
from .multipart_form import Part, parsed_header, read_parts
from .schemas import InspectRequest, Label

_PRODUCT: TypeAdapter[str | None] = TypeAdapter(Label | None)
_FORM_FIELDS = 8
_CHARSETS = {"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"}


@dataclass(frozen=True)
class Upload:
    """One image file as uploaded. `name` is for display only and never opened."""

    name: str | None
    content: bytes
    error: ImageError | None = None


async def read_uploads(
    request: Request, limits: Limits, receive: Callable[[int], None] = lambda size: None
) -> tuple[list[Upload], str | None]:
    """Return the images and the product of a request.

    Args:
        request: whose body has not been read.
        limits: of the service.
        receive: called with the bytes of memory that each piece of the body takes.

    Raises:
        HTTPException: if the body is malformed or too large.
    """
    header = parsed_header("content-type", request.headers.get("content-type", ""))
    kind = header.get_content_type() if header["content-type"] else ""
    is_json = kind == "application/json" or kind.endswith("+json")
    body = _received(request, receive, 2 if is_json else 1)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, "Send the body without Content-Encoding; photos are compressed.")
    try:
        charset = _charset(header)
        if kind == "multipart/form-data":
            uploads, product = await _read_form(body, header, charset, limits)
        elif is_json:
            text = await _whole(body)
            uploads, product = await to_thread.run_sync(_read_json, text, charset)
        elif kind.startswith("image/") or kind == "application/octet-stream":
            uploads, product = [Upload(None, bytes(await _whole(body)))], None
        else:
            raise HTTPException(
                415,
                f"Content-Type is {kind[:80] or 'missing'}; send multipart/form-data, "
                "application/json or image/*.",
            )
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
    if not upload.content:
        return ImageError("The image file is empty (0 bytes).")
    if len(upload.content) > limits.image_bytes:
        return ImageError(f"The image has more than {limits.image_bytes:,} bytes.")
    try:
        image = open_image(upload.content, limits.pixels)
    except ImageError as error:
        return error
    # Their conversion takes four times the memory.
    if image.mode in ("F", "I") and image.width * image.height > limits.pixels // 2:
        return ImageError(
            f"An image with 32 bits per pixel may have {limits.pixels // 2:,} pixels; save it with "
            "8 or 16 bits."
        )
    return image


async def _received(
    request: Request, receive: Callable[[int], None], copies: int
) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        receive(copies * len(chunk))
        yield chunk


async def _whole(body: AsyncIterator[bytes]) -> bytearray:
    whole = bytearray()
    async for chunk in body:
        whole += chunk
    return whole


async def _read_form(
    body: AsyncIterator[bytes], header: Message, charset: str, limits: Limits
) -> tuple[list[Upload], str | None]:
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise HTTPException(400, "Content-Type multipart/form-data has no boundary.")
    uploads, products = [], []
    # One file more than allowed, so that the limit of images is what is reported.
    most = limits.images + 1 + _FORM_FIELDS
    for part in await read_parts(body, boundary, most, limits.image_bytes):
        if part.name == "images":
            uploads.append(_upload(part))
        elif part.name == "product":
            products.append(part)
        else:
            raise HTTPException(422, f"Unknown field {part.name[:40]!r}; use images, product.")
    if len(products) > 1:
        raise HTTPException(422, "Send the field 'product' once.")
    try:
        product = products[0].content.decode(charset) if products else None
    except UnicodeError as error:
        raise HTTPException(422, f"The field 'product' is not {charset} text.") from error
    return uploads, _PRODUCT.validate_python(product or None)


def _upload(part: Part) -> Upload:
    """Return the file of a part; a file need not have a name."""
    content, name = bytes(part.content), _shown(part.filename)
    encoding = part.headers.get("content-transfer-encoding", "binary").strip().lower()
    if encoding == "base64":
        return _decoded(name, content)
    if encoding not in ("binary", "8bit", "7bit"):
        raise HTTPException(415, f"Content-Transfer-Encoding {encoding[:40]!r} is not supported.")
    if name is None and "content-type" not in part.headers and content.isascii():
        raise HTTPException(
            422, "The field 'images' must hold files, not text; with curl: -F images=@part.jpg."
        )
    return Upload(name, content)


def _read_json(body: bytearray, charset: str) -> tuple[list[Upload], str | None]:
    try:
        # RFC 8259 asks for UTF-8 without a byte order mark; not all clients do.
        known = json.detect_encoding(body) if charset == "utf-8" else charset
        content = body if known == "utf-8" else bytearray(body.decode(known), "utf-8")
    except UnicodeError as error:
        raise HTTPException(422, f"The JSON is not {charset} text.") from error
    read = InspectRequest.model_validate_json(content)
    return [_decoded(image.name, image.data) for image in read.images], read.product


def _decoded(name: str | None, data: str | bytes) -> Upload:
    try:
        return Upload(name, decode_base64(data))
    except ImageError as error:
        return Upload(name, b"", error)


def _charset(header: Message) -> str:
    """Return the charset of a Content-Type, by default UTF-8."""
    charset = str(header.get_param("charset", "utf-8"))
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise HTTPException(415, f"Content-Type has the charset {charset[:40]!r}; use UTF-8.")
    return name


def _shown(filename: str | None) -> str | None:
    """Return the last part of a client's file name, made printable."""
    name = (filename or "").replace("\\", "/").rpartition("/")[2][:200]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name) or None


def explanation(errors: Sequence[Any]) -> str:
    """Return field and reason of pydantic's errors, without the value: it may not be text."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    return f"{where}: {errors[0]['msg']}" if where else str(errors[0]["msg"])
