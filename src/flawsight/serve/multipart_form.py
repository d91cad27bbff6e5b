"""multipart/form-data → parts in memory, as clients really write it.

Starlette's own parser takes a part for a file only by `filename=`, and writes files to disk.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from python_multipart import MultipartParser
from starlette.exceptions import HTTPException


@dataclass
class Part:
    """One part of a form.

    Attributes:
        headers: of the part, names in lower case.
        content: its bytes, of which no more than one above the limit are kept.
    """

    headers: dict[str, str] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        """The name of the field; PHP and axios write lists as images[]."""
        return str(self._disposition().get_param("name", "", "content-disposition"))[
            :200
        ].removesuffix("[]")

    @property
    def filename(self) -> str | None:
        """The file name of `filename=` or `filename*=`, decoded."""
        try:
            return self._disposition().get_filename()
        except (ValueError, LookupError):  # of an encoding that is none
            return None

    def _disposition(self) -> Message:
        return parsed_header("content-disposition", self.headers.get("content-disposition", ""))


def parsed_header(name: str, value: str) -> Message:
    """Return a header whose parameters can be asked for."""
    message = Message()
    message[name] = " ".join(value.split())
    return message


async def read_parts(
    chunks: AsyncIterator[bytes], boundary: str, max_parts: int, max_bytes: int
) -> list[Part]:
    """Return the parts of a body.

    Raises:
        HTTPException: if it is malformed, or has more than `max_parts`.
    """
    collector = _Collector(max_parts, max_bytes)
    try:
        parser = MultipartParser(boundary.encode("latin-1"), collector.callbacks())
        async for chunk in chunks:
            parser.write(chunk)
    except ValueError as error:
        raise HTTPException(
            400,
            f"The multipart body is malformed: {error}. Is the boundary in Content-Type the one "
            "in the body, and are lines ended by CRLF?",
        ) from error
    if not collector.ended:
        raise HTTPException(
            400, "The multipart body ends before its last boundary; it was cut short."
        )
    return collector.parts


class _Collector:
    """Gathers what the parser reports."""

    def __init__(self, max_parts: int, max_bytes: int) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._max_parts, self._max_bytes = max_parts, max_bytes
        self._name, self._value = bytearray(), bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == self._max_parts:
            raise HTTPException(400, f"The form has more than {self._max_parts} parts.")
        self.parts.append(Part())

    def _data(self, data: bytes, start: int, end: int) -> None:
        content = self.parts[-1].content
        content += data[start : min(end, start + self._max_bytes + 1 - len(content))]

    def _header(self) -> None:
        self.parts[-1].headers[_text(self._name).lower()] = _text(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        self.ended = True


def _text(raw: bytearray) -> str:
    """Decode a header, which should be UTF-8 and often is Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
