"""Base64 as clients write it → bytes."""

import binascii
from urllib.parse import unquote_to_bytes

from ..errors import ImageError

_SPACE = b" \t\r\n\v\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")


def decode_base64(text: str | bytes) -> bytes:
    """Decode base64 with or without line ends, padding and a data: prefix, in either alphabet.

    Raises:
        ImageError: if it is not base64.
    """
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise ImageError(f"The image is not base64: it holds {text[error.start]!r}.") from error
    if raw[:5].lower() == b"data:":
        prefix, comma, raw = raw.partition(b",")
        if not comma or not prefix.rstrip().lower().endswith(b";base64"):
            raise ImageError("The image is a data: URL without ';base64,'; send it in base64.")
        raw = unquote_to_bytes(raw)
    raw = raw.translate(_STANDARD, _SPACE)
    bare = raw.rstrip(b"=")
    if len(raw) - len(bare) > 2 or len(bare) % 4 == 1:
        raise ImageError("The image is not valid base64: its length is wrong; is it cut short?")
    try:
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error as error:
        raise ImageError(f"The image is not valid base64: {error}.") from error
