"""Label Studio's RLE of brushes (thi.ng/rle-pack): the bytes of a mask's RGBA pixels, packed.

32 bits number of values, 5 bits their size less one, 4 × 4 bits the sizes of lengths less one.
Then runs: 1 bit whether one value is repeated, 2 bits which size the length has, the length less
one, and the value or the values.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
# Bits of a run's length; a run takes the fewest.
_LENGTH_BITS = (3, 4, 8, 16)


def encode_rle(mask: Mask) -> list[int]:
    """Return a mask (height, width) as bytes; all four channels of a pixel are 0 or 255."""
    values = np.repeat(mask.ravel(), 4)
    bits = [f"{len(values):032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
    longest = 2 ** _LENGTH_BITS[-1]
    for start, length in zip(starts, np.diff(starts, append=len(values)), strict=True):
        for done in range(0, int(length), longest):
            run = min(longest, int(length) - done) - 1
            size = next(index for index, size in enumerate(_LENGTH_BITS) if run < 2**size)
            bits.append(f"1{size:02b}{run:0{_LENGTH_BITS[size]}b}{255 * int(values[start]):08b}")
    return np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")).tolist()


def decode_rle(rle: Sequence[int], size: tuple[int, int]) -> Mask:
    """Return the mask of (height, width) `size` that bytes are of: pixels that are not transparent.

    Raises:
        ValueError: if they are damaged, or of another size.
    """
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, word = read(32), read(5) + 1
    if total != 4 * size[0] * size[1]:
        raise ValueError(f"a brush has {total} values, and its image {size[1]}×{size[0]} pixels")
    lengths = [read(4) + 1 for _ in _LENGTH_BITS]
    values: list[int] = []
    counts: list[int] = []
    done = 0
    while done < total:
        repeated = read(1)
        count = read(lengths[read(2)]) + 1
        values += [read(word) for _ in range(1 if repeated else count)]
        counts += [count] if repeated else [1] * count
        done += count
    pixels = np.repeat(np.array(values) > 0, counts)[:total].reshape(*size, 4)
    return np.asarray(pixels[:, :, 3])
