"""What photos may take of the memory: pixels while decoding, and bytes of bodies and responses.

A photo of few bytes may have many pixels, and inspecting takes some 30 bytes for each. Large photos
are therefore inspected at a smaller size, one is decoded at a time, and the memory is given back.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import BusyError, FlawsightError, ImageError
from ..inspection import Inspection, Region
from ..io.images import Photo, prepare_photo
from ..io.pages import SIDEWAYS, turn_of
from .batching import InspectBatch, Outcome, inspect_separately
from .stored_maps import shrink_map

_MANY = 2 << 20  # pixels
ImageSize = tuple[int, int]


class PixelBudget:
    """Pixels decoded at once, by threads that wait for one another."""

    def __init__(self, total: int) -> None:
        self._total, self._held = total, 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait for room; a photo above the total is decoded alone.

        After much of it, freed memory is given back to the system, where the C library can.
        """
        pixels = min(pixels, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._held + pixels <= self._total)
            self._held += pixels
        try:
            yield
        finally:
            if pixels > _MANY:
                with suppress(AttributeError, OSError):
                    ctypes.CDLL(None).malloc_trim(0)
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()


class ByteBudget:
    """Bytes of bodies and responses at once. For the event loop alone."""

    def __init__(self, total: int) -> None:
        self._total, self._held = total, 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Yield what adds bytes, which are held until the end.

        Raises:
            BusyError: if there is no room for now.
            HTTPException: if there never is.
        """
        own = 0

        def add(size: int) -> None:
            nonlocal own
            if own + size > self._total:
                raise HTTPException(413, "This is too much for one request; ask for less at once.")
            if self._held + size > self._total:
                raise BusyError("Too many photos are being sent at once; try again later.")
            self._held += size
            own += size

        try:
            yield add
        finally:
            self._held -= own


class HeldResponse(Response):
    """A response whose bytes are held until the client has them."""

    def __init__(self, budget: ByteBudget, content: bytes, **more: Any) -> None:
        self._stack = ExitStack()
        with ExitStack() as stack:
            stack.enter_context(budget.hold())(len(content))
            self._stack = stack.pop_all()
        super().__init__(content, **more)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._stack:
            await super().__call__(scope, receive, send)


def inspected_size(image_size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Return the (height, width) at which a photo of (height, width) is inspected."""
    height, width = image_size
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    return max(1, int(height * scale)), max(1, int(width * scale))


def inspect_bounded(
    inspect_batch: InspectBatch,
    budget: PixelBudget,
    pixels: int,
    bit_depth: int | None,
    images: Sequence[Image.Image],
) -> list[Outcome]:
    """Inspect a batch, photos of more than `pixels` at that size, and free the images.

    The results are in pixels of the photo but for `anomaly_map`, which is as it is stored.
    """
    made: list[tuple[Image.Image | Photo, ImageSize | None] | ImageError] = []
    for image in images:
        fits = image.width * image.height <= pixels
        made.append((image, None) if fits else _reduced(image, budget, pixels, bit_depth))
    outcomes = iter(
        inspect_separately(inspect_batch, [one[0] for one in made if isinstance(one, tuple)])
    )
    results: list[Outcome] = []
    for one in made:
        if isinstance(one, ImageError):
            results.append(one)
            continue
        outcome = next(outcomes)
        if not isinstance(outcome, FlawsightError):
            outcome = _as_stored(outcome, one[1] or outcome.image_size)
        results.append(outcome)
    for image in images:
        image.close()
    return results


def good_photo(
    image: Image.Image, budget: PixelBudget, pixels: int, bit_depth: int | None
) -> Image.Image:
    """Return a photo as RGB as it would be inspected, to be learned from.

    Raises:
        ImageError: if it is damaged, or shows one flat colour.
    """
    if image.width * image.height <= pixels:
        with budget.hold(image.width * image.height):
            return prepare_photo(image, bit_depth=bit_depth).image
    made = _reduced(image, budget, pixels, bit_depth)
    if isinstance(made, ImageError):
        raise made
    return made[0].image


def _reduced(
    image: Image.Image, budget: PixelBudget, pixels: int, bit_depth: int | None
) -> tuple[Photo, ImageSize] | ImageError:
    """Return a photo at its inspected size, upright, and the (height, width) of the whole."""
    width, height = image.size
    scale = max(inspected_size((height, width), pixels))
    try:
        # A JPEG is decoded at a half, a quarter or an eighth.
        image.draft(None, (scale, scale))
        with budget.hold(image.width * image.height):
            photo = prepare_photo(image, bit_depth=bit_depth, most_pixels=pixels)
            on_its_side = turn_of(image)[0] in SIDEWAYS
            if image.format == "TIFF":  # decoding turns it, and Pillow 10 tells its size only then
                width, height = image.size
            image.close()
            whole = (width, height) if on_its_side else (height, width)
            size = inspected_size(whole, pixels)[::-1]
            return replace(photo, image=photo.image.resize(size, Image.Resampling.BOX)), whole
    except ImageError as error:
        return error


def _as_stored(outcome: Inspection, size: tuple[int, int]) -> Inspection:
    stored = shrink_map(outcome.anomaly_map).astype(np.float32)
    if outcome.image_size == size:
        return replace(outcome, anomaly_map=stored)
    return with_enlarged_regions(replace(outcome, anomaly_map=stored, image_size=size))


def with_enlarged_regions(outcome: Inspection) -> Inspection:
    """Return an inspection with its regions, maybe of a reduced photo, in pixels of the whole."""
    size = outcome.image_size
    regions = tuple(
        one if one.image_size == size else _enlarged(one, size) for one in outcome.regions
    )
    return replace(outcome, regions=regions)


def _enlarged(region: Region, size: tuple[int, int]) -> Region:
    """Return a region in pixels of (height, width) `size`, each that of the nearest one."""
    rows, columns = (
        (2 * np.arange(after) + 1) * before // (2 * after)
        for after, before in zip(size, region.image_size, strict=True)
    )
    mask = region.mask[np.ix_(rows, columns)]
    turns = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False, append=False))
    counts = tuple(np.diff(turns, prepend=0, append=mask.size).tolist())
    down, across = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (
        int(across[0]), int(down[0]),
        int(across[-1] - across[0] + 1), int(down[-1] - down[0] + 1),
    )  # fmt: skip
    return replace(
        region, image_size=size, box=box, area=int(np.count_nonzero(mask)), counts=counts
    )
