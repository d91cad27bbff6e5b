"""Ground-truth masks from files of every kind, and from polygons."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flawsight.data.dataset import Sample
from flawsight.data.masks import read_gt_mask
from flawsight.errors import DatasetError

EXPECTED = np.array([[False, True, False], [False, False, True]])


def sample(mask: Path | None, label: int = 1) -> Sample:
    return Sample(Path("/photos/a.png"), label, "nut", "test", "crack", mask)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "RGBA"])
def test_a_mask_is_what_lies_above_zero(mode: str, tmp_path: Path) -> None:
    small = EXPECTED.astype(np.uint8) * 3
    if mode == "1":
        image = Image.fromarray(EXPECTED)
    elif mode == "I;16":
        image = Image.fromarray(small.astype(np.uint16) * 300)
    elif mode in ("RGB", "RGBA"):
        # In one channel alone; alpha, opaque everywhere, does not count.
        opaque = np.full_like(small, 255)
        zero = np.zeros_like(small)
        image = Image.fromarray(np.stack([zero, zero, small, opaque][: len(mode)], axis=2))
    else:
        image = Image.fromarray(small)
        if mode == "P":
            image.putpalette([0, 0, 0] * 256)
    assert image.mode == mode
    image.save(tmp_path / "mask.png")
    found = read_gt_mask(sample(tmp_path / "mask.png"), (2, 3))
    assert found.dtype == bool
    np.testing.assert_array_equal(found, EXPECTED)


def test_a_mask_that_does_not_fit_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(EXPECTED).save(path)
    with pytest.raises(DatasetError, match="is 3×2 pixels, its image 2×3"):
        read_gt_mask(sample(path), (3, 2))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DatasetError, match="Cannot read the mask"):
        read_gt_mask(sample(path))


def test_a_normal_image_has_an_empty_mask_of_the_given_size() -> None:
    np.testing.assert_array_equal(read_gt_mask(sample(None, 0), (2, 3)), np.zeros((2, 3), bool))
    with pytest.raises(DatasetError, match=r"size of /photos/a\.png is not known"):
        read_gt_mask(sample(None, 0))
