"""Region of interest (ROI): the part of each photo that is inspected, as the text of a setting.

    120,80,640,480          LEFT,TOP,WIDTH,HEIGHT in pixels of the upright photo
    10%,5%,80%,90%          in percent of its width and height
    mask:640x480:eNpj…      a mask: its size, and its bits row by row, compressed

A text holds all of it, so that what records settings records the ROI.
"""

import base64
import binascii
import re
import zlib
from dataclasses import dataclass
from typing import Self

from .errors import ImageError, SettingsError

Box = tuple[int, int, int, int]
_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*"
_BOX = re.compile(",".join([_NUMBER] * 4))
_MASK = re.compile(r"mask:([1-9]\d{0,5})x([1-9]\d{0,5}):([A-Za-z0-9+/]+=*)")
_HOW = (
    "write LEFT,TOP,WIDTH,HEIGHT in pixels, like 120,80,640,480, or in percent, like "
    "10%,5%,80%,90%, or give --roi a mask image, white inside"
)
_MOST_PIXELS = 200_000_000
_LONGEST = 200_000


@dataclass(frozen=True)
class RoiMask:
    """A mask of (height, width) `size`; `bits` has its rows, each padded to whole bytes."""

    size: tuple[int, int]
    bits: bytes


@dataclass(frozen=True)
class Roi:
    """A region of interest: a box or a mask.

    Attributes:
        box: (left, top, width, height) in pixels of the upright photo, or in percent.
        percent: whether it is in percent.
        mask: of a photo with the same aspect; None for a box, and the box is then empty.
    """

    box: tuple[float, ...]
    percent: bool = False
    mask: RoiMask | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the ROI of a text; see the module.

        Raises:
            SettingsError: if it is none, is empty, or leaves the photo by its percentages.
        """
        if text.startswith("mask:"):
            return cls((), mask=_mask_of(text))
        found = _BOX.fullmatch(text)
        if found is None or len({*found.groups()[1::2]}) > 1:
            raise SettingsError(f"roi is {text[:60]!r}; {_HOW}.")
        box, percent = tuple(map(float, found.groups()[::2])), found[2] == "%"
        if not percent and any("." in number for number in found.groups()[::2]):
            raise SettingsError(f"roi is {text!r}; pixels are whole numbers.")
        if min(box[2:]) <= 0:
            raise SettingsError(f"roi is {text!r}, which is empty; {_HOW}.")
        if percent and (box[0] + box[2] > 100 or box[1] + box[3] > 100):
            raise SettingsError(f"roi is {text!r}, which leaves the photo: it ends beyond 100 %.")
        return cls(box, percent)

    def box_in(self, image_size: tuple[int, int]) -> Box:
        """Return the (left, top, width, height) in pixels that a box has in a photo.

        Args:
            image_size: (height, width) of the upright photo.

        Raises:
            ImageError: if it does not lie in the photo.
        """
        height, width = image_size
        if not self.percent:
            x, y, wide, high = (int(number) for number in self.box)
            if x + wide > width or y + high > height:
                raise ImageError(
                    f"The region of interest {x},{y},{wide},{high} leaves the photo of "
                    f"{width}×{height} pixels; for photos of several sizes, give it in percent."
                )
            return x, y, wide, high
        left, top, across, down = self.box
        x, y = (round(left * width / 100), round(top * height / 100))
        x, y = min(x, width - 1), min(y, height - 1)
        right = max(x + 1, round((left + across) * width / 100))
        bottom = max(y + 1, round((top + down) * height / 100))
        return x, y, right - x, bottom - y


def in_pixels(text: str) -> bool:
    """Whether the text of a region of interest is a box in pixels."""
    roi = Roi.parse(text)
    return roi.mask is None and not roi.percent


def roi_in_words(text: str | None) -> str:
    """Return what is inspected, for a sentence."""
    if text is None:
        return "whole photos"
    if mask := Roi.parse(text).mask:
        digest = f"{zlib.crc32(mask.bits):08x}"
        return f"a mask of {mask.size[1]}×{mask.size[0]} pixels ({digest}) as region of interest"
    return f"the region of interest {text}"


def mask_text(size: tuple[int, int], bits: bytes) -> str:
    """Return the text of a mask; see `RoiMask`.

    Raises:
        SettingsError: if it has too many outlines to be kept with every result.
    """
    packed = base64.b64encode(zlib.compress(bits, 9)).decode()
    if len(packed) > _LONGEST:
        raise SettingsError(
            "The mask of the region of interest has too many outlines; draw it more plainly, or "
            "save it with fewer pixels."
        )
    return f"mask:{size[1]}x{size[0]}:{packed}"


def _mask_of(text: str) -> RoiMask:
    found = _MASK.fullmatch(text)
    if found is None:
        raise SettingsError(f"roi is {text[:60]!r}…, which is no mask; {_HOW}.")
    width, height = int(found[1]), int(found[2])
    length = height * -(-width // 8)
    if width * height > _MOST_PIXELS or len(found[3]) > _LONGEST:
        raise SettingsError(f"roi is a mask of {width}×{height} pixels, which is too large.")
    try:
        bits = zlib.decompressobj().decompress(base64.b64decode(found[3]), length + 1)
    except (binascii.Error, zlib.error) as error:
        raise SettingsError(f"roi is a damaged mask ({error}); {_HOW}.") from error
    if len(bits) != length:
        raise SettingsError(f"roi is a damaged mask (its bits do not fit its size); {_HOW}.")
    if not any(bits):
        raise SettingsError("The mask of the region of interest is empty: nothing is white.")
    return RoiMask((height, width), bits)
