"""TIFF files of several pages."""

import io

from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

Tag = tuple[int, int] | None


def pages(*given: tuple[Tag, Image.Image]) -> bytes:
    """A TIFF of pages, each with a tag or none."""
    content = io.BytesIO()
    with AppendingTiffWriter(content, True) as writer:
        for tag, image in given:
            tags = ImageFileDirectory_v2()
            if tag is not None:
                tags[tag[0]] = tag[1]
            image.save(writer, "TIFF", tiffinfo=tags)
            writer.newFrame()
    return content.getvalue()
