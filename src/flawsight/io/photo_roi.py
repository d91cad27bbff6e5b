"""Photos cut to a region of interest, and masks read from images."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import SettingsError
from ..frame import Frame, frame_of
from ..roi import Roi, mask_text
from .images import Photo, prepare_photo, read_image

_WHITE = 128  # from which grey level a pixel of a mask is inside


def read_roi(given: str | Path) -> str:
    """Return a region of interest as the setting `roi` holds it.

    Args:
        given: the text of one, or the file of a mask image: what is brighter than mid-grey is
            inspected. The mask has the aspect of the photos, and may be smaller.

    Raises:
        ImageError: if the image cannot be read.
        SettingsError: if there is no such file and the text is no region, or the mask is empty or
            has too many outlines.
    """
    text = str(given)
    if not Path(text).is_file():
        Roi.parse(text)
        return text
    inside = np.asarray(read_image(text).convert("L")) >= _WHITE
    if not inside.any():
        raise SettingsError(f"The mask {text} is empty: no pixel is white.")
    return mask_text(inside.shape, np.packbits(inside, axis=1).tobytes())


def cut_photo(photo: Photo, roi: str | None) -> tuple[Photo, Frame | None]:
    """Return what the model sees of a photo, and where that lies; without an ROI, all of it.

    The photo is cut to the box of the ROI. Outside of a mask it is filled with the mean colour
    inside, so that nothing there changes a result.

    Raises:
        ImageError: if the ROI does not fit the photo, or shows one flat colour.
    """
    if roi is None:
        return photo, None
    image = photo.image
    frame = frame_of(Roi.parse(roi), (image.height, image.width))
    left, top, width, height = frame.box
    cut = image.crop((left, top, left + width, top + height))
    if frame.inside is not None:
        pixels = np.array(cut)
        pixels[~frame.inside] = pixels[frame.inside].mean(axis=0).round()
        cut = Image.fromarray(pixels)
    seen = prepare_photo(cut, "the region of interest")
    said = tuple(one for one in photo.warnings if one not in photo.of_content)
    return Photo(seen.image, (*said, *seen.warnings), seen.of_content), frame
